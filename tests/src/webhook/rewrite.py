"""A mutating admission webhook that rewrites container images, as image proxies do. rewrite.py ADDRESS CERTIFICATE KEY PREFIX."""
import base64
import http.server
import json
import ssl
import sys

address, certificate, key, prefix = sys.argv[1:]


def patches(template, path):
    for index, container in enumerate(template.get("spec", {}).get("containers", [])):
        image = container.get("image", "")
        if image and not image.startswith(prefix):
            yield {"op": "replace", "path": f"{path}/spec/containers/{index}/image", "value": prefix + image.rsplit("/", 1)[-1]}


class Webhook(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        found = list(patches(request["object"]["spec"]["template"], "/spec/template"))
        response = {"uid": request["uid"], "allowed": True}
        if found:
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(found).encode()).decode()}
        body = json.dumps({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer((address, 0), Webhook)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("port:", server.server_address[1], flush=True)
server.serve_forever()
