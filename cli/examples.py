"""An example of every command, as its ``--help`` shows it."""

import typer

EXAMPLES = {
    "audit adopt": "unledger audit adopt pets --dry-run",
    "audit checkpoint": "unledger audit checkpoint -o checkpoint.txt",
    "audit export": "unledger audit export -o log.jsonl",
    "audit import": "unledger audit import log.jsonl --into archive",
    "audit key": "unledger audit key",
    "audit log": "unledger audit log pets --after 40",
    "audit proof": "unledger audit proof 17 -o proof.json",
    "audit verify": "unledger audit verify",
    "audit witness": "unledger audit witness witness.txt",
    "backup": "unledger backup /mnt/backups/2026-03-31",
    "certificate erase-openings": "unledger certificate erase-openings 3 --yes",
    "certificate issue": "unledger certificate issue 7 -o certificate.json",
    "certificate list": "unledger certificate list",
    "certificate show": "unledger certificate show 3",
    "certificate verify": "unledger certificate verify certificate.json --key KEY",
    "db check": "unledger db check",
    "db current": "unledger db current",
    "db upgrade": "unledger db upgrade",
    "demo": "unledger demo demo",
    "doctor": "unledger doctor",
    "evaluate": "unledger evaluate pets:3 --level 2",
    "exporter add": "unledger exporter add prod folder:/srv/models --model pets",
    "exporter list": "unledger exporter list",
    "exporter remove": "unledger exporter remove prod",
    "exporter run": "unledger exporter run",
    "exporter status": "unledger exporter status",
    "forget": "unledger forget pets -c cat --reason 'licence ended' --due +30d",
    "fsck": "unledger fsck",
    "gc": "unledger gc --dry-run",
    "init": "unledger init my-ledger --time-zone Europe/Berlin",
    "model add": "unledger model add pets --arch timm/resnet18 --weights pets.safetensors --data folder:pets",
    "model coverage": "unledger model coverage pets",
    "model diff": "unledger model diff pets 0 3",
    "model export": "unledger model export pets -o exported",
    "model list": "unledger model list",
    "model rebind": "unledger model rebind pets --data folder:/new/place",
    "model show": "unledger model show pets:3",
    "model spaces": "unledger model spaces pets",
    "model verify": "unledger model verify pets",
    "model versions": "unledger model versions pets",
    "plugin new": "unledger plugin new my-plugin",
    "plugins": "unledger plugins --check",
    "preview": "unledger preview pets -c cat -o preview.json",
    "purge": "unledger purge pets --older-than 30d --dry-run",
    "recover": "unledger recover --dry-run",
    "report": "unledger report pets -o report.html",
    "request approve": "unledger request approve 7 --reason 'checked with legal'",
    "request calendar": "unledger request calendar -o due.ics",
    "request cancel": "unledger request cancel 7 --reason 'filed twice'",
    "request deny": "unledger request deny 7 --reason 'not our data'",
    "request export": "unledger request export -o requests.csv",
    "request extend": "unledger request extend 7 --due +60d --reason 'complex case'",
    "request hold": "unledger request hold 7 --reason 'waits for an answer'",
    "request list": "unledger request list --state queued",
    "request release": "unledger request release 7",
    "request retry": "unledger request retry 7 --solver projection",
    "request show": "unledger request show 7",
    "request withdraw": "unledger request withdraw 7 --reason 'asked to'",
    "restore": "unledger restore /mnt/backups/2026-03-31 --into restored --keys /mnt/keys",
    "rollback": "unledger rollback pets --to 1 --reason 'broke the dashboard'",
    "serve": "unledger serve --port 8080",
    "status": "unledger status pets --overdue",
    "token create": "unledger token create dashboard --scope read",
    "token end-sessions": "unledger token end-sessions ada",
    "token list": "unledger token list",
    "token revoke": "unledger token revoke TOKEN-ID",
    "token sessions": "unledger token sessions",
    "webhook add": "unledger webhook add https://example.org/hook --kind 'request.*'",
    "webhook deliveries": "unledger webhook deliveries 1",
    "webhook list": "unledger webhook list",
    "webhook remove": "unledger webhook remove 1",
    "webhook test": "unledger webhook test 1",
    "weights inspect": "unledger weights inspect pets.pth",
    "weights convert": "unledger weights convert pets.pth pets.safetensors",
    "work": "unledger work --drain",
}
"""By the name of the command, without ``unledger``."""


def add_examples(group: typer.Typer, *path: str) -> None:
    """Let the help of every command of a group end with its example."""
    for info in group.registered_commands:
        name = info.name or (info.callback.__name__.replace("_", "-") if info.callback is not None else "")
        example = EXAMPLES.get(" ".join((*path, name)))
        if example is not None and not info.epilog:
            info.epilog = f"Example: {example}"
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            add_examples(inner.typer_instance, *path, str(inner.name))
