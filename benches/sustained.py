#!/usr/bin/env python3
"""Images/s of a job that is under way, for one worker, two workers and two processes in turn.

    sustained.py EIGENFLOW --images DIR [--rounds 3] [--seconds 60] [DEMO'S OWN OPTIONS ...]

A stream has no beginning and no end, so neither is counted: the clock starts once 50 images are rows, and each job is
killed when its time is over. The job counts (`eigenflow_changes_total`); epochs fall into the time as they come, so it
should be a multiple of `publish.interval_ms`, and the folder must hold enough images for it. Needs Python alone.
"""

import argparse
import os
import re
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request

LAYOUTS = ["--workers 1", "--workers 2", "--processes 2"]


def free_port():
    """For the first process; each other one listens on the port behind the one before."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def images(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return float(re.search(r"^eigenflow_changes_total ([0-9.e+]+)$", text, re.MULTILINE)[1])


def rate(options, layout):
    port = free_port()
    with tempfile.TemporaryDirectory() as out:
        command = [options.eigenflow, "demo", "--images", options.images, *layout.split()]
        command += ["--out", os.path.join(out, "demo"), "--listen", f"127.0.0.1:{port}", *options.demo]
        # A session of its own: its processes are killed together.
        job = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            while True:
                time.sleep(0.2)
                if job.poll() is not None:
                    raise SystemExit(f"the job ended before it was measured: {' '.join(command)}")
                try:
                    if images(port) >= 50:
                        break
                except OSError:
                    pass
            start, before = time.monotonic(), images(port)
            time.sleep(options.seconds)
            if job.poll() is not None:
                raise SystemExit("the job ended while it was measured: give it more images, or less time")
            return (images(port) - before) / (time.monotonic() - start)
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
            job.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("eigenflow")
    parser.add_argument("--images", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60)
    options, options.demo = parser.parse_known_args()
    rates = {layout: [] for layout in LAYOUTS}
    for turn in range(options.rounds):
        for layout, taken in rates.items():
            taken.append(rate(options, layout))
            print(f"turn {turn + 1}: {layout}: {taken[-1]:.1f} images/s", flush=True)
    one = rates[LAYOUTS[0]]
    for layout, taken in rates.items():
        ratios = " ".join(f"{each / base:.2f}" for each, base in zip(taken, one))
        print(f"{layout}: median {statistics.median(taken):.1f} images/s, {sum(taken) / sum(one):.2f} times one worker ({ratios})")


main()
