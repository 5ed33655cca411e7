#!/usr/bin/env python3
"""Makes the bucket that chronik-server's variables name, puts an object there and takes it away again.

usage: OBJECT_STORE_BACKEND=... bucket.py

A store that answers cannot always take something yet (SeaweedFS looks for its own parts first), so this is what
store.sh waits for. Only Python's own modules: requests are signed here, as far as these three need it.
"""

import base64
import hashlib
import hmac
import http.client
import os
import sys
import time
from email.utils import formatdate
from urllib.parse import urlsplit

OBJECT = "made-by-store-sh"
TIMEOUT_SECONDS = 5


def sha256(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def s3_headers(method, host, path, body):
    """Signature version 4, of a path without a query."""
    now = time.gmtime()
    day, moment = time.strftime("%Y%m%d", now), time.strftime("%Y%m%dT%H%M%SZ", now)
    digest = hashlib.sha256(body).hexdigest()
    signed = "host;x-amz-content-sha256;x-amz-date"
    request = f"{method}\n{path}\n\nhost:{host}\nx-amz-content-sha256:{digest}\nx-amz-date:{moment}\n\n{signed}\n{digest}"
    scope = f"{day}/us-east-1/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = b"AWS4" + os.environ["S3_SECRET_KEY"].encode()
    for part in scope.split("/"):
        key = sha256(key, part)
    credential = f"{os.environ['S3_ACCESS_KEY']}/{scope}"
    signature = sha256(key, text).hex()
    return {
        "Authorization": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={signature}",
        "x-amz-content-sha256": digest,
        "x-amz-date": moment,
    }


def azure_headers(method, path, query, body):
    """The account's key over the request, as of version 2015-02-21."""
    account = os.environ["AZURE_ACCOUNT_NAME"]
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2023-11-03"}
    if body:
        headers["x-ms-blob-type"] = "BlockBlob"
    lines = [method, "", "", str(len(body) or ""), "", "", "", "", "", "", "", ""]
    lines += [f"{name}:{headers[name]}" for name in sorted(headers)]
    lines.append(f"/{account}{path}")
    lines += [part.replace("=", ":") for part in query.split("&") if part]
    key = base64.b64decode(os.environ["AZURE_ACCOUNT_KEY"])
    headers["Authorization"] = f"SharedKey {account}:{base64.b64encode(sha256(key, chr(10).join(lines))).decode()}"
    return headers


def main():
    backend = os.environ["OBJECT_STORE_BACKEND"]
    setting = {"s3": "S3", "azure": "AZURE", "gcs": "GCS"}[backend]
    endpoint = urlsplit(os.environ[setting + "_ENDPOINT"])
    bucket = endpoint.path + "/" + os.environ["AZURE_CONTAINER" if backend == "azure" else setting + "_BUCKET"]

    def ask(method, path, query="", body=b"", fine=()):
        headers = {}
        if backend == "s3":
            headers = s3_headers(method, endpoint.netloc, path, body)
        elif backend == "azure":
            headers = azure_headers(method, path, query, body)
        connection = http.client.HTTPConnection(endpoint.netloc, timeout=TIMEOUT_SECONDS)
        connection.request(method, path + ("?" + query if query else ""), body, headers)
        answer = connection.getresponse()
        if answer.status // 100 != 2 and answer.status not in fine:
            sys.exit(f"{method} {path}: {answer.status} {answer.read(400)}")

    # 409: it is there since the last start. The bucket of our gcs is there from the beginning.
    if backend != "gcs":
        ask("PUT", bucket, "restype=container" if backend == "azure" else "", fine=(409,))
    ask("PUT", f"{bucket}/{OBJECT}", body=b"?")
    ask("DELETE", f"{bucket}/{OBJECT}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, http.client.HTTPException) as error:
        sys.exit(str(error))
