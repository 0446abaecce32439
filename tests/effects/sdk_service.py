"""What two SDKs talk to: an object store, and a language model. In another process, and counted.

Run as a program (`-m tests.effects.sdk_service LOG`) it is the service itself; see `http_service`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.effects.http_service import Handler, serve

__all__ = ["WORDS"]

WORDS = ["Es ", "war ", "einmal"]


class _SdkHandler(Handler):
    objects: dict[str, bytes] = {}  # noqa: RUF012 - shared by all handlers on purpose

    # --- S3, path style: /bucket/KEY ---

    def serve_bucket(self) -> None:
        asked = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if self.command == "POST" and "uploads" in asked:
            self._xml("InitiateMultipartUploadResult", f"<UploadId>u{self.hit}</UploadId>")
        elif self.command == "POST" and "delete" in asked:
            self._xml("DeleteResult", "")
        elif self.command == "GET" and "list-type" in asked:
            self._list(asked)
        elif self.command == "PUT":
            self.objects[self.argument] = self.body
            self.send(b"", headers=(("ETag", f'"{hashlib.md5(self.body).hexdigest()}"'),))
        elif self.command == "DELETE":
            self.objects.pop(self.argument, None)
            self.send(b"", 204)
        elif self.argument in self.objects:
            found = self.objects[self.argument]
            self.send(found, headers=(("x-amz-meta-kind", "made up"),))
        else:
            self._xml("Error", "<Code>NoSuchKey</Code><Message>none</Message>", 404)

    def _list(self, asked: dict[str, list[str]]) -> None:
        """List one object a page: each paginator has to come back."""
        keys = sorted(self.objects)
        start = int(asked.get("continuation-token", ["0"])[0])
        page = keys[start : start + 1]
        listed = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(self.objects[key])}</Size></Contents>"
            for key in page
        )
        is_more = start + 1 < len(keys)
        more = f"<NextContinuationToken>{start + 1}</NextContinuationToken>" if is_more else ""
        flag = f"<IsTruncated>{str(is_more).lower()}</IsTruncated><KeyCount>{len(page)}</KeyCount>"
        self._xml("ListBucketResult", f"<Name>bucket</Name>{flag}{more}{listed}")

    def _xml(self, root: str, inside: str, status: int = 200) -> None:
        body = f'<?xml version="1.0"?><{root}>{inside}</{root}>'.encode()
        self.send(body, status, (("Content-Type", "application/xml"),))

    # --- a language model: /v1/… ---

    def serve_v1(self) -> None:
        asked = json.loads(self.body)
        if asked.get("model") == "busy" and self.hit < 3:
            self._json({"error": {"message": "slow down"}}, 429, (("Retry-After-Ms", "1"),))
        elif asked.get("model") == "unknown":
            self._json({"error": {"message": "no such model", "code": "model_not_found"}}, 404)
        elif self.argument == "embeddings":
            data = [{"object": "embedding", "index": 0, "embedding": [0.25, self.hit]}]
            usage = {"prompt_tokens": 1, "total_tokens": 1}
            self._json({"object": "list", "model": "m", "data": data, "usage": usage})
        elif asked.get("stream"):
            self._stream()
        else:
            message = {"role": "assistant", "content": f"answer {self.hit}"}
            self._json(
                {**self._completion("chat.completion"), "choices": [_choice(message=message)]}
            )

    def _stream(self) -> None:
        self.begin_chunks("text/event-stream")
        for word in WORDS:
            choice = _choice(delta={"content": f"{word}({self.hit})"}, finish_reason=None)
            chunk = {**self._completion("chat.completion.chunk"), "choices": [choice]}
            self.send_chunk(f"data: {json.dumps(chunk)}\n\n".encode())
        self.send_chunk(b"data: [DONE]\n\n")
        self.send_chunk(b"")

    def _completion(self, kind: str) -> dict[str, Any]:
        return {"id": f"c{self.hit}", "object": kind, "created": 1, "model": "m"}

    def _json(
        self, value: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        more = (("Content-Type", "application/json"), ("x-request-id", f"r{self.hit}"))
        self.send(json.dumps(value).encode(), status, (*more, *headers))


def _choice(**fields: Any) -> dict[str, Any]:
    return {"index": 0, "finish_reason": "stop", **fields}


if __name__ == "__main__":
    serve(_SdkHandler, sys.argv[1:])
