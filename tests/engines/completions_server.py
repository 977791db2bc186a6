"""A real completions server for tests, in the dialect of vLLM: token ids in and out, log-probs, seeds.

Run as a process; prints its port. It computes each token by a full forward of a tiny model, so a client can
be compared with the model itself. POST /faults breaks it in the ways real servers break."""

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch
from tiny_models import tiny

from oneloop.core.draws import uniforms
from oneloop.engines.law import Law, draw

FAULTS = {
    "no_token_ids": False,  # answer in text only, as OpenAI does
    "raw_logprobs": False,  # report the plain softmax, as vLLM does by default
    "busy": 0,  # answer so many requests with 503 first
    "cut": 0,  # drop the first so many streams after three tokens
    "tokens": 10**9,  # exit without a word after so many
    "pause": 0.0,  # seconds a token
    "junk": False,  # send comments for ever instead of tokens
    "wide": False,  # send a line of 8 MB
    "beyond": False,  # never say that the limit is reached
    "say": None,  # this chunk instead of tokens
}
faults, open_streams = dict(FAULTS), set()
logins = []
model, lock = tiny("llama").eval(), threading.Lock()
torch.set_num_threads(1)


def spend(what):
    """Whether one of the counted faults is still to be had."""
    with lock:
        faults[what] -= 1
        return faults[what] >= 0


def sample(body):
    """Yield (token, logprob, best logprob, finish reason) until the request ends."""
    law = Law(body["temperature"], max(body.get("top_k", 0), 0), body["top_p"], body["min_p"])
    ids, text = list(body["prompt"]), ""
    for n in range(body["max_tokens"]):
        with lock, torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[:, -1]
        logprobs = law.logprobs(logits)
        token = int(
            logits.argmax()
            if law.greedy
            else draw(logprobs, torch.from_numpy(uniforms(body["seed"], n).reshape(1)))
        )
        reported = Law().logprobs(logits) if faults["raw_logprobs"] else logprobs
        ids.append(token)
        text += chr(97 + token % 26)
        stopped = token in body["stop_token_ids"] or any(stop in text for stop in body["stop"])
        reason = "stop" if stopped else "length" if n + 1 == body["max_tokens"] else None
        yield token, float(reported[0, token]), float(reported.max()), reason
        if reason:
            return


def choice(token, logprob, best, reason):
    named = {} if faults["no_token_ids"] else {"token_ids": [token]}
    logprobs = {"tokens": ["?"], "token_logprobs": [logprob], "top_logprobs": [{"?": logprob, "!": best}]}
    return {"index": 0, "text": chr(97 + token % 26), "logprobs": logprobs, "finish_reason": reason, **named}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, thing):
        content = json.dumps(thing).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        self.answer(
            200,
            {"data": [{"id": "tiny", "max_model_len": 128}], "streams": len(open_streams), "logins": logins},
        )

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/faults":
            faults.update({**FAULTS, **body})
            return self.answer(200, {})
        if spend("busy"):
            return self.answer(503, {"error": "busy"})
        if body["model"] != "tiny" or max(body["prompt"]) > 60:
            return self.answer(400, {"error": f"no such token in {body['prompt']}"})
        if not body.get("stream"):
            return self.answer(200, {"choices": [choice(*next(sample(body)))]})
        logins.append(self.headers.get("Authorization"))
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        open_streams.add(self)
        try:
            self.stream(body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has had enough
        finally:
            open_streams.discard(self)
            self.close_connection = True

    def stream(self, body):
        cut = spend("cut")
        while faults["junk"]:
            self.wfile.write(b": still here\n")
            self.wfile.flush()
            time.sleep(0.05)
        if faults["wide"]:
            self.wfile.write(b"data: " + b" " * (8 << 20))
        if faults["say"] is not None:
            self.wfile.write(f"data: {json.dumps(faults['say'])}\n\n".encode())
            return
        if faults["beyond"]:
            body = {**body, "max_tokens": body["max_tokens"] + 50}
        for n, drawn in enumerate(sample(body)):
            if cut and n == 3:
                return
            self.wfile.write(f"data: {json.dumps({'choices': [choice(*drawn)]})}\n\n".encode())
            self.wfile.flush()
            if not spend("tokens"):
                os._exit(9)
            time.sleep(faults["pause"])
        self.wfile.write(b"data: [DONE]\n\n")


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.request_queue_size = 128
print(server.server_address[1], flush=True)
server.serve_forever()
