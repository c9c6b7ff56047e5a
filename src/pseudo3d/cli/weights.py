"""`p3d weights`: published weights (list, show, get) and what a checkpoint file is (check)."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pseudo3d.cli.common import Json, note, progress_bar, say, say_json

if TYPE_CHECKING:
    from pseudo3d.recycle.published.record import Record

weights = typer.Typer(no_args_is_help=True, help="Published weights, and what a checkpoint is.")
Name = Annotated[str, typer.Argument(help="As in `p3d weights list`.")]


@weights.command("list")
def list_records(
    pattern: Annotated[str, typer.Argument(help="Shell pattern of names.")] = "*",
    json: Json = False,
) -> None:
    """List published weights: network, data, score as published, digest, address."""
    from fnmatch import fnmatch

    from pseudo3d.errors import WeightsError, unknown
    from pseudo3d.recycle.published.catalog import all_records, host

    found = [r for r in all_records() if fnmatch(r.name, pattern)]
    if not found:
        raise WeightsError(unknown("weights", pattern, [r.name for r in all_records()]))
    if json:
        say_json([_plain(r) for r in found])
        return
    say("name\tnetwork\tclasses\tpublished\tdigest\tfrom")
    for r in found:
        score = f"{r.scores[0].metric} {r.scores[0].value:.1%}" if r.scores else "-"
        where = host(r.address) + ("" if r.direct else " (by hand)")
        say(f"{r.name}\t{r.network}\t{r.classes or 'none'}\t{score}\t{_digest(r)[:17]}\t{where}")


@weights.command()
def show(name: Name, json: Json = False) -> None:
    """Print all that is known of published weights."""
    from pseudo3d.recycle.published.catalog import record

    found = record(name)
    if json:
        say_json(_plain(found))
        return
    say(f"name\t{found.name}\nnetwork\t{found.network}\nfile\t{found.file or 'name not known'}")
    say(f"address\t{found.address}{'' if found.direct else ' (a page: to be fetched by hand)'}")
    say(f"digest\t{_digest(found)}")
    say(f"license\t{found.license}")
    kind = f", {found.label_set}" if found.label_set else ""
    say(f"classes\t{found.classes or 'no classifier'}{kind}")
    for score in found.scores:
        say(f"published\t{score.metric} {score.value:.2%} ({score.protocol})")
    if not found.scores:
        say("published\tno score")
    for key, value in (found.prepare or {"preprocessing": "not known"}).items():
        say(f"  {key}\t{value}")
    say(f"source\t{found.source}")
    if found.notes:
        say(f"notes\t{found.notes}")


@weights.command()
def get(
    name: Name,
    to: Annotated[
        Path | None, typer.Option(help="Folder; default: the user's cache folder.")
    ] = None,
) -> None:
    """Download published weights, resuming what broke off, and print where the file is."""
    from pseudo3d.errors import WeightsError
    from pseudo3d.recycle.published.catalog import record
    from pseudo3d.recycle.published.download import default_folder, digest_of, download

    found = record(name)
    if not found.direct:
        raise WeightsError(
            f"{name}: no address a program can fetch; open {found.address} in a browser, then "
            "`p3d weights check FILE`"
        )
    note(f"{found.name}: license {found.license}")
    target = (to or default_folder()) / found.address.rpartition("/")[2]
    digest = digest_of(found) if target.name == found.file else None
    with progress_bar(f"{target.name} (bytes)") as progress:
        fetched = download(found.address, target, digest, progress)
    checked = f"{digest.algorithm} agrees" if digest else "nobody states a digest of this file"
    note(f"{'fetched' if fetched else 'was there already'}; {checked}")
    say(str(target))


@weights.command()
def check(
    file: Annotated[Path, typer.Argument(help="A checkpoint, ours or of another project.")],
    semantics: Annotated[
        str | None, typer.Option(help="What foreign weights leave open; see `pseudo3d.load`.")
    ] = None,
    json: Json = False,
) -> None:
    """Say what a checkpoint is, what of it is loaded, and whether its input scale fits.

    Exit code 1 if it cannot be loaded, is damaged, or was trained on another input scale.
    """
    from pseudo3d.recycle.published.inspect import inspect

    found = inspect(file, semantics=semantics)
    result = found.to_dict()
    if json:
        say_json(result)
    else:
        _tell(result)
    if result["damaged"] or result["input_scale_fits"] is False:
        raise typer.Exit(1)


@weights.command("save")
def save_as_ours(
    file: Annotated[Path, typer.Argument(help="A checkpoint of another project.")],
    out: Annotated[Path, typer.Argument(help="Where to write it as one of ours (.safetensors).")],
    classes: Annotated[
        Path, typer.Option(help="Text file of class names, one per line, in the logits' order.")
    ],
    semantics: Annotated[
        str | None, typer.Option(help="What foreign weights leave open; see `pseudo3d.load`.")
    ] = None,
) -> None:
    """Write foreign weights with their class names as a checkpoint that every command takes."""
    from pseudo3d.weights import load, save

    net = load(file, semantics=semantics)
    names = tuple(line for line in classes.read_text("utf-8").splitlines() if line.strip())
    card = net.card
    save(net, out, classes=names, preprocessing=card.preprocessing, training=card.training)
    say(str(out))


def _tell(result: dict[str, Any]) -> None:
    from pseudo3d.recycle.foreign.kinds import shorten

    say(f"file\t{result['path']}, {result['bytes'] / 1e6:.1f} MB, sha256 {result['sha256']}")
    told = result["record"] or "not in the catalog"
    say(f"record\t{told}{', but its digest differs: damaged or altered' * result['damaged']}")
    say(f"kind\t{result['kind']}")
    say(f"network\t{result['network']}, {result['parameters'] / 1e6:.2f} M parameters")
    say(f"classes\t{result['classes']}{', named' if result['class_names'] else ', without names'}")
    say(f"loaded\t{result['loaded']} entries")
    for key in ("fresh", "left_out"):
        say(f"{key.replace('_', ' ')}\t{shorten(result[key]) or 'nothing'}")
    for text in result["reshaped"]:
        say(f"reshaped\t{text}")
    pre = result["preprocessing"]
    if pre is not None:
        size = "x".join(map(str, pre["size"]))
        say(f"input\t{pre['frames']} frames, {size}, {pre['color']}, mean {pre['mean']} after "
            f"dividing by {pre['scale']:g}, std {pre['std']}")  # fmt: skip
    say(f"scale\t{result['input_scale'].removeprefix('input scale: ')}")
    for text in result["notes"]:
        say(f"note\t{text}")


def _digest(found: "Record") -> str:
    if found.sha256 is not None:
        whole = len(found.sha256) == 64
        return f"sha256 {found.sha256}{'' if whole else ' (first digits, from the file name)'}"
    return f"sha1 {found.sha1}" if found.sha1 is not None else "none stated"


def _plain(found: "Record") -> dict[str, Any]:
    plain = {**vars(found), "scores": found.told_scores}
    return {**plain, "prepare": dict(found.prepare) if found.prepare else None}


def add_to(app: typer.Typer) -> None:
    """Enter the group."""
    app.add_typer(weights, name="weights")
