"""A chat server for tests, in OpenAI's dialect: a small model read from the disk, or what it is told to say.

Run as a process with the model's folder ("-": none) and a port (0: any); prints the port. POST /faults breaks
it in the ways real servers break. The model has learned nothing: it answers as one too small for the work."""

import gzip
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = {
    "say": None,  # this text instead of the model's
    "busy": 0,  # answer so many requests with 503 first
    "body": None,  # answer this JSON
    "nulls": 0,  # every so manieth answer has no text
    "drip": 0.0,  # seconds before each byte of the answer; 0: all at once
    "drip_head": 0.0,  # the same before each byte of its head
    "huge": 0,  # answer so many bytes
    "gzip": False,  # compress although nobody asked for it
    "garbage": False,  # answer something that is no chat completion
    "refuse": 0,  # this status for everything
    "answers": 10**9,  # exit without a word after so many
}
faults, asked = dict(FAULTS), []
lock = threading.Lock()
if sys.argv[1] != "-":
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1]).eval()
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])


def spend(what):
    """Whether one of the counted faults is still to be had."""
    with lock:
        faults[what] -= 1
        return faults[what] >= 0


def generate(body):
    with lock, torch.inference_mode():
        torch.manual_seed(body["seed"])
        ids = tokenizer.apply_chat_template(
            body["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )["input_ids"]
        hot = body["temperature"] > 0
        options = {"do_sample": hot, **({"temperature": body["temperature"]} if hot else {})}
        out = model.generate(ids, max_new_tokens=body["max_tokens"], **options)
        return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, thing):
        content = thing if isinstance(thing, bytes) else json.dumps(thing).encode()
        self.send_response(status)
        if faults["gzip"]:
            content = gzip.compress(content)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.drip(content, faults["drip"])

    def drip(self, content, seconds):
        try:
            for byte in content if seconds else ():
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(seconds)
            self.wfile.write(b"" if seconds else content)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has had enough

    def flood(self, size):
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        try:
            for _ in range(size >> 16):
                self.wfile.write(b" " * (1 << 16))
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has had enough
        self.close_connection = True

    def do_GET(self):
        self.answer(200, {"asked": asked})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/faults":
            faults.update({**FAULTS, **body})
            asked.clear()
            return self.answer(200, {})
        with lock:
            asked.append({"body": body, "key": self.headers.get("Authorization")})
        if spend("busy"):
            return self.answer(503, {"error": "busy"})
        if faults["refuse"]:
            return self.answer(faults["refuse"], {"error": "no"})
        if faults["garbage"]:
            return self.answer(200, b"<html>502</html>")
        if not spend("answers"):
            os._exit(9)
        if faults["drip_head"]:
            return self.drip(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + b"X: y\r\n" * 50, faults["drip_head"]
            )
        if faults["body"] is not None:
            return self.answer(200, faults["body"])
        if faults["huge"]:
            return self.flood(faults["huge"])
        text = faults["say"] if faults["say"] is not None else generate(body)
        if faults["nulls"] and len(asked) % faults["nulls"] == 0:
            text = None
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        self.answer(200, {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage})


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler)
server.request_queue_size = 128
print(server.server_address[1], flush=True)
server.serve_forever()
