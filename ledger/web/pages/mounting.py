"""All pages of an application."""

from fastapi import FastAPI

from . import (
    audit,
    certificates,
    inbox,
    login,
    models,
    previews,
    reports,
    requests,
    rollback,
    static_files,
    status,
    tokens,
    versions,
    webhooks,
    withdrawals,
)
from .problem_pages import error_page

SUBJECTS = (
    static_files,
    login,
    status,
    inbox,
    requests,
    models,
    versions,
    rollback,
    previews,
    reports,
    audit,
    certificates,
    tokens,
    webhooks,
    withdrawals,
)


def mount_pages(app: FastAPI) -> None:
    """Have an application answer with pages, outside of what its schema describes."""
    app.state.error_page = error_page
    for subject in SUBJECTS:
        app.include_router(subject.router, include_in_schema=False)
