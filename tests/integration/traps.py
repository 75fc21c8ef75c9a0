"""Stops a server at a chosen command and kills somebody at that very moment.

The other half is tests/tools/trap_commands.c, preloaded into the servers of a scenario: it asks here before a watched
command is carried out, and once more before its reply leaves. One trap is set at a time and springs once; every other
question is answered at once, so the other servers run on meanwhile.
"""

import os
import socket
import threading
import time

from harness import BUILD

LIBRARY = os.path.join(BUILD, "tests", "libtrap_commands.so")


class Event:
    def __init__(self, line):
        self.when, self.word, pid, port = line.split()
        self.pid, self.port, self.at = int(pid), int(port), time.monotonic()


class Traps:
    def __init__(self, path):
        self.path = path
        self.lock = threading.Lock()
        self.trap = None  # (when, word, times to let pass, what to do)
        self.sprung = threading.Event()
        self.fault = None
        self.last_forget = None
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(path, "socket"))
        self.listener.listen(128)
        threading.Thread(target=self._serve, daemon=True).start()
        self._watch("FORGET", True)

    def environment(self):
        return {"LD_PRELOAD": LIBRARY, "DROVER_TRAP": self.path}

    def set(self, when, word, nth, act):
        """act(event) runs while the server that got the nth such command of all servers stands still.

        It says False when whoever sent the command has given up meanwhile: the next such command is as good.
        """
        with self.lock:
            self.trap = [when, word, nth - 1, act]
            self.sprung.clear()
        self._watch(word, True)

    def has_sprung(self):
        """The trap has sprung and its work is done."""
        if self.fault:
            raise AssertionError("in the trap: %s" % self.fault)
        return self.sprung.is_set()

    def _watch(self, word, on):
        path = os.path.join(self.path, word)
        if on:
            open(path, "w").close()
        elif word != "FORGET" and os.path.exists(path):
            os.unlink(path)

    def _serve(self):
        while True:
            link, _ = self.listener.accept()
            threading.Thread(target=self._answer, args=(link,), daemon=True).start()

    def _answer(self, link):
        with link:
            try:
                line = link.makefile().readline()
                if line:
                    self._hear(Event(line))
                link.sendall(b"g")
            except OSError:
                pass  # the server that asked was killed

    def _hear(self, event):
        with self.lock:
            if event.word == "FORGET":
                self.last_forget = event.at
            if self.trap is None or self.trap[:2] != [event.when, event.word]:
                return
            self.trap[2] -= 1
            if self.trap[2] >= 0:
                return
            act, self.trap = self.trap[3], None
        try:
            if act(event) is False:
                with self.lock:
                    self.trap = [event.when, event.word, 0, act]
                return
        except Exception as error:  # told to whoever waits
            self.fault = error
        self._watch(event.word, False)
        self.sprung.set()


def holder_of(port, processes):
    """The process among these whose end of a connection has this local port: who sent the command."""
    inodes = set()
    with open("/proc/net/tcp") as file:
        for line in file.readlines()[1:]:
            fields = line.split()
            if int(fields[1].split(":")[1], 16) == port:
                inodes.add("socket:[%s]" % fields[9])
    for process in processes:
        folder = "/proc/%d/fd" % process.pid
        for name in os.listdir(folder):
            try:
                if os.readlink(os.path.join(folder, name)) in inodes:
                    return process
            except OSError:
                continue
    return None
