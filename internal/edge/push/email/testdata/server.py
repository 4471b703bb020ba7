"""A mail submission server (aiosmtpd) for the tests: prints what it takes, as JSON, a line each.

Arguments: starttls, tls or plain; the PEM file of its certificate and key.
"""
import asyncio
import json
import ssl
import sys
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP, AuthResult


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        m = message_from_bytes(envelope.content, policy=policy.default)
        print(json.dumps({
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": session.ssl is not None or how == "tls",
            "user": session.auth_data and session.auth_data.login.decode(), "subject": m["Subject"],
            "header_from": m["From"], "auto": m["Auto-Submitted"], "text": m.get_content(),
        }), flush=True)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    # handled=False: the server is to say what came of it.
    return AuthResult(success=data.login == b"tandem" and data.password == b"right", handled=False, auth_data=data)


async def main():
    tls = None
    if how != "plain":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(sys.argv[2])
    starttls = tls if how == "starttls" else None

    def server():
        return SMTP(
            Handler(), hostname="mail.example", authenticator=authenticate, tls_context=starttls,
            require_starttls=starttls is not None, auth_required=tls is not None, auth_require_tls=how == "starttls",
        )

    s = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, ssl=tls if how == "tls" else None)
    print(json.dumps({"port": s.sockets[0].getsockname()[1]}), flush=True)
    await s.serve_forever()


how = sys.argv[1]
asyncio.run(main())
