"""Open notebooks in JupyterLab as a reader does: Run All in a real browser, light and dark, and look at the result.

    python tests/browser.py [000_tour fig2 …] [--scale smoke] [--to out/browser]

Needs Chromium and `pip install playwright`; CHROMIUM names the browser if it is not /usr/bin/chromium. Fails if a cell
ends in an error or warns, if an output is wider than its page, or if the run takes longer than --minutes. Screenshots of every
screenful go to --to. Runs and figures of the check lie in a temporary folder."""
import argparse, json, os, shutil, socket, subprocess, sys, tempfile, time, urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

def jupyter(folder: Path, env: dict):
    "A server on a free port whose root is `folder`: (process, address)."
    with socket.socket() as s: s.bind(("127.0.0.1", 0)); port = s.getsockname()[1]
    p = subprocess.Popen([sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}", "--IdentityProvider.token=",
                          "--ServerApp.disable_check_xsrf=True",
                          "--allow-root", f"--ServerApp.root_dir={folder}"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(120):
        try: urllib.request.urlopen(f"http://127.0.0.1:{port}/api"); return p, f"http://127.0.0.1:{port}"
        except OSError: time.sleep(0.5)
    p.kill(); raise SystemExit("JupyterLab did not start within a minute")

def theme(env: dict, name: str):
    folder = Path(env["JUPYTERLAB_SETTINGS_DIR"]) / "@jupyterlab" / "apputils-extension"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "themes.jupyterlab-settings").write_text(json.dumps({"theme": name}))

def run_all(page, address, name, minutes):
    "Open the notebook, Run All, wait until no cell is running; the error outputs and the outputs that are too wide."
    page.goto(f"{address}/lab/tree/{name}.ipynb?reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.wait_for_function("document.querySelector('.jp-NotebookPanel-toolbar')?.innerText.match(/Python 3|python3/)", timeout=60_000)
    time.sleep(3)                                    # the kernel connects
    page.keyboard.press("Escape")
    page.get_by_text("Run", exact=True).first.click()
    page.get_by_text("Run All Cells", exact=True).first.click()
    end = time.time() + 60 * minutes
    while time.time() < end:
        time.sleep(2)
        prompts = page.evaluate("[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(e => e.innerText.trim())")
        if prompts and not any("*" in p for p in prompts) and any(p.strip("[]: ") for p in prompts): break
    else: return [f"{name}: still running after {minutes} minutes"]
    errors = page.evaluate("[...document.querySelectorAll('.jp-RenderedText[data-mime-type=\"application/vnd.jupyter.stderr\"], "
                           ".jp-OutputArea-output[data-mime-type=\"application/vnd.jupyter.error\"]')]"
                           ".map(e => e.innerText.slice(0, 300))")
    wide = page.evaluate("[...document.querySelectorAll('.jp-OutputArea-output')].filter(e => e.scrollWidth > e.clientWidth + 2)"
                         ".map(e => e.innerText.slice(0, 80))")
    return [f"{name}: {e}" for e in errors] + [f"{name}: wider than the page: {w}" for w in wide]

def screenshots(page, to: Path, stem: str):
    "One picture for each screenful of the open notebook."
    box = ".jp-WindowedPanel-outer"
    height, view = page.evaluate(f"[document.querySelector('{box}').scrollHeight, document.querySelector('{box}').clientHeight]")
    for i in range(min(30, -(-height // view))):
        page.evaluate(f"document.querySelector('{box}').scrollTop = {i * view}")
        time.sleep(0.8)
        page.screenshot(path=to / f"{stem}_{i:02d}.png")

def main():
    a = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    a.add_argument("notebooks", nargs="*", default=["000_tour", "fig2"]); a.add_argument("--scale", default="quick")
    a.add_argument("--to", type=Path, default=ROOT / "out" / "browser"); a.add_argument("--minutes", type=float, default=15)
    a = a.parse_args()
    from playwright.sync_api import sync_playwright
    a.to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as d:
        for n in a.notebooks: shutil.copy(ROOT / "nbs" / f"{n}.ipynb", d)
        env = os.environ | dict(NC_ROBUST_SCALE=a.scale, NC_ROBUST_RUNS=f"{d}/runs", NC_ROBUST_OUT=f"{d}/out",
                                JUPYTERLAB_SETTINGS_DIR=f"{d}/settings")
        found = []
        with sync_playwright() as play:
            for look in ("Light", "Dark"):
                theme(env, f"JupyterLab {look}")
                server, address = jupyter(Path(d), env)
                browser = play.chromium.launch(executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"])
                try:
                    page = browser.new_page(viewport=dict(width=1280, height=900))
                    for n in a.notebooks:
                        found += run_all(page, address, n, a.minutes)
                        screenshots(page, a.to, f"{n}_{look.lower()}")
                finally: browser.close(); server.terminate(); server.wait()
    print("\n".join(found) or "nothing to report", f"\nscreenshots in {a.to}", sep="")
    sys.exit(bool(found))

if __name__ == "__main__": main()
