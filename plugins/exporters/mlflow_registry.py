"""Exporter ``mlflow:URI``: live versions in the model registry of MLflow, under the alias ``live``.

A model of the ledger is a registered model of the same name. Weights that went live once are one version there, however
often they go live: a rollback moves the alias back to it. What a purge destroyed is deleted with its files.

Needs the extra ``mlflow``. ``URI`` is what MLflow takes for its tracking server: ``http://HOST:5000``, or
``sqlite:////path/mlflow.db``. Credentials are MLflow's own (environment variables), never part of the address.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from ledger import installation
from ledger.errors import LedgerError, UsageError
from ledger.hookspecs import Exporter, LiveFacts, LiveVersion, hookimpl

PREFIX = "mlflow:"
ALIAS = "live"
EXPERIMENT = "unledger"
"""Experiment whose runs hold the files: one run for each version of a registered model."""
ARTIFACTS = "model"
WEIGHTS_TAG = "unledger.weights"
COMPLETE = "unledger.complete"
"""Tag of a version whose files arrived; one without it is left by a crash."""
LONGEST_TAG = 4000
"""Characters of a tag; MLflow takes no more than 5000."""


class MlflowExporter:
    """Puts live versions into MLflow's model registry.

    Args:
        uri: Address of the tracking server, or of its database.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def publish(self, live: LiveVersion) -> str:
        """Register a version with its files, unless its weights are there, and move the alias to it."""
        facts = live.facts
        with self._speaking():
            self._require_model(facts.model)
            found = self._complete(facts.model, facts.weights)
            number = str(found.version) if found is not None else self._register(live)
            self._tag(facts.model, number, facts)
            self._client.set_registered_model_alias(facts.model, ALIAS, number)
        return f"alias {ALIAS} of {facts.model} names version {number} there"

    def describe(self, facts: LiveFacts) -> str:
        """Set the tags of the version that is live."""
        with self._speaking():
            found = self._complete(facts.model, facts.weights)
            if found is None:
                raise LedgerError(
                    f"MLflow has no version of {facts.model} with the live weights",
                    "somebody deleted it there: unledger exporter run",
                )
            self._tag(facts.model, str(found.version), facts)
        return f"tags of version {found.version} of {facts.model} were set"

    def remove(self, model: str, weights: frozenset[str]) -> str:
        """Delete versions whose weights were purged, with their files."""
        gone = []
        with self._speaking():
            for version in self._versions(model):
                if version.tags.get(WEIGHTS_TAG) in weights:
                    self._delete(version)
                    gone.append(str(version.version))
        return (
            f"deleted version {', '.join(gone)} of {model} there" if gone else f"{model} holds no purged weights there"
        )

    @cached_property
    def _client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        installation.require("mlflow", f"exporting to {PREFIX}{_without_user(self._uri)}")
        from mlflow.exceptions import MlflowException

        try:
            yield
        except (MlflowException, OSError) as error:
            raise LedgerError(
                f"MLflow at {_without_user(self._uri)} refused or did not answer: {str(error).splitlines()[0][:300]}",
                "check its address, and that it runs",
            ) from error

    def _require_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            self._client.create_registered_model(name, description="Kept by unledger: versions that went live.")

    def _versions(self, model: str) -> list[Any]:
        return list(self._client.search_model_versions(f"name = '{model}'", max_results=10_000))

    def _complete(self, model: str, weights: str) -> Any:
        """Return the version with some weights whose files are there; None if there is none."""
        known = [v for v in self._versions(model) if v.tags.get(WEIGHTS_TAG) == weights and v.tags.get(COMPLETE)]
        return max(known, key=lambda version: int(version.version), default=None)

    def _register(self, live: LiveVersion) -> str:
        """Write the files to a run, and register them; what a crash left of an earlier attempt is deleted first."""
        facts = live.facts
        for version in self._versions(facts.model):
            if version.tags.get(WEIGHTS_TAG) == facts.weights:
                self._delete(version)
        found = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = self._client.create_experiment(EXPERIMENT) if found is None else found.experiment_id
        run = self._client.create_run(experiment, run_name=f"{facts.model} {facts.version}", tags=_cut(facts))
        with TemporaryDirectory() as folder:
            for name, data in live.files.items():
                (Path(folder) / name).write_bytes(data)
            self._client.log_artifacts(run.info.run_id, folder, ARTIFACTS)
        source = f"{run.info.artifact_uri}/{ARTIFACTS}"
        made = self._client.create_model_version(
            facts.model, source, run_id=run.info.run_id, tags={WEIGHTS_TAG: facts.weights}
        )
        self._client.set_terminated(run.info.run_id)
        self._client.set_model_version_tag(facts.model, made.version, COMPLETE, "yes")
        return str(made.version)

    def _tag(self, model: str, number: str, facts: LiveFacts) -> None:
        for name, value in _cut(facts).items():
            self._client.set_model_version_tag(model, number, name, value)

    def _delete(self, version: Any) -> None:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        # Files first: a version without files can be deleted again, files without a version would be forgotten.
        repository: Any = get_artifact_repository(version.source)
        repository.delete_artifacts()
        if version.run_id:
            self._client.delete_run(version.run_id)
        self._client.delete_model_version(version.name, version.version)


def _cut(facts: LiveFacts) -> dict[str, str]:
    return {name: value[:LONGEST_TAG] for name, value in facts.tags.items()}


def _without_user(uri: str) -> str:
    """Return an address without a password that somebody wrote into it after all."""
    parts = urlsplit(uri)
    return uri if not parts.password else uri.replace(f":{parts.password}@", "@")


@hookimpl
def unledger_exporter(spec: str) -> Exporter | None:
    """Open a registry; nobody is asked yet.

    Raises:
        UsageError: There is no address, or it holds a password: specifications are kept and shown.
        NotInstalledError: MLflow is not installed.
    """
    if not spec.startswith(PREFIX):
        return None
    uri = spec.removeprefix(PREFIX)
    if "://" not in uri:
        raise UsageError(f"{spec} names no MLflow", "e.g. mlflow:http://HOST:5000 or mlflow:sqlite:////path/mlflow.db")
    if urlsplit(uri).password:
        raise UsageError("the address of MLflow holds a password", "set MLFLOW_TRACKING_PASSWORD where workers run")
    installation.require("mlflow", "this exporter")
    return MlflowExporter(uri)
