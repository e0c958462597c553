#!/usr/bin/env python3
"""A web server for tests: http_server.py FOLDER

Serves FOLDER's files on a free port of this machine, which it prints. The address's first part says
how: /ok/NAME as asked, with ranges; /whole/NAME without ranges; /half/NAME breaks off after half of
what was asked; /none/NAME breaks off at once; /slow/NAME a little at a time; /wrong/NAME with a
wrong byte; /away/NAME leads to /ok/NAME, /file/NAME to a file of this machine. What was asked is in
FOLDER/requests.log, a line each: PATH RANGE.
"""
import http.server
import os
import sys
import time


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = self.headers.get("Range", "-")
        with open(os.path.join(sys.argv[1], "requests.log"), "a") as log:
            log.write(f"{self.path} {asked}\n")
        _, how, name = (self.path.split("/", 2) + ["", ""])[:3]
        if how in ("away", "file"):
            self.send_response(302)
            self.send_header("Location", f"/ok/{name}" if how == "away" else "file:///etc/hostname")
            self.end_headers()
            return
        path = os.path.join(sys.argv[1], os.path.basename(name))
        if how not in ("ok", "whole", "half", "none", "slow", "wrong") or not os.path.isfile(path):
            self.send_error(404)
            return
        with open(path, "rb") as file:
            content = bytearray(file.read())
        if how == "wrong":
            content[len(content) // 2] ^= 1
        start, size = 0, len(content)
        if asked != "-" and how != "whole":
            start = int(asked.removeprefix("bytes=").split("-")[0])
            if start >= size:
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        part = content[start:]
        if how == "half":
            part = part[: (len(part) + 1) // 2]
        if how == "none":
            part = b""
        if how == "slow":
            for i in range(0, len(part), 1000):
                self.wfile.write(part[i : i + 1000])
                self.wfile.flush()
                time.sleep(0.01)
        else:
            self.wfile.write(part)
        self.close_connection = True

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
