"""Which parts of unledger are installed, and the error where one is not.

`pip install unledger` brings everything that keeps, reads and verifies a ledger. What computes with networks, and what
serves, are extras, since they need packages that are many times larger.
"""

from importlib.util import find_spec

from ledger.errors import NotInstalledError

EXTRAS = {
    "engine": ("torch", "torchvision", "timm", "sklearn", "scipy", "numpy", "PIL", "safetensors", "huggingface_hub"),
    "server": ("fastapi", "starlette", "uvicorn", "python_multipart", "prometheus_client"),
    "oidc": ("authlib", "itsdangerous", "joserfc"),
    "telemetry": ("opentelemetry.sdk", "opentelemetry.exporter.otlp"),
    "ray": ("ray",),
    "dask": ("distributed",),
    "notebook": ("pandas",),
    "mlflow": ("mlflow",),
}
"""Extras without which a part of the program cannot run, and the modules they bring."""
DOES = {
    "engine": "computes with networks",
    "server": "is the server",
    "oidc": "lets people in with accounts of an identity provider",
    "telemetry": "sends traces and figures to OpenTelemetry",
    "ray": "computes on a Ray cluster",
    "dask": "computes on a Dask cluster",
    "notebook": "makes data frames",
    "mlflow": "speaks to MLflow",
}
"""What each of them does."""


def lacks(extra: str) -> bool:
    """Whether a module of an extra is not installed; nothing is loaded to find out."""
    return any(not _is_there(name) for name in EXTRAS[extra])


def require(extra: str, purpose: str) -> None:
    """Check that an extra is installed, before anything is done that would stop halfway without it.

    Args:
        extra: Name of the extra.
        purpose: What needs it, as the beginning of a sentence: ``carrying out requests``.

    Raises:
        NotInstalledError: It is not, or only in part.
    """
    if lacks(extra):
        raise not_installed(extra, purpose)


def not_installed(extra: str, purpose: str) -> NotInstalledError:
    """Return the error for an extra that is missing."""
    return NotInstalledError(
        f"{purpose} needs the part of unledger that {DOES[extra]}, which is not installed here",
        install(extra),
        extra=extra,
    )


def install(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'unledger[{extra}]'"


def as_not_installed(error: ImportError) -> NotInstalledError | None:
    """Return the error for a module that could not be imported because its extra is missing; None for any other."""
    top = (error.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        # Where the module is there, something else is wrong with it, and that must not be hidden.
        if top in modules and not _is_there(top):
            return not_installed(extra, "this command")
    return None


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
