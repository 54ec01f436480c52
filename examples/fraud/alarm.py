"""The service behind the API destination: prints the notifications that come with the right key."""

import http.server
import json


class Alarm(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        known = self.headers["X-Alarm-Key"] == "alarm-0123456789"
        self.send_response(204 if known else 403)
        self.end_headers()
        if known:
            event = json.loads(body)
            print(event["detail-type"], event["source"], json.dumps(event["detail"]["value"]), flush=True)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", 18090), Alarm).serve_forever()
