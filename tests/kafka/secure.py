"""A broker that asks who one is: SASL/PLAIN on one listener, TLS with an expired certificate on
another, ACLs for the users of SASL; on the plain listener everybody is a super user."""

import subprocess

import broker
from ports import free_port

USER, PASSWORD = "site", "right-horse-battery"


def expired_certificate(folder):
    """Key and certificate in one PEM file; it was valid for a day of 2020."""
    key, request, cert = folder / "key.pem", folder / "request.pem", folder / "cert.pem"
    (folder / "index").write_text("")
    (folder / "index.attr").write_text("unique_subject = no\n")
    (folder / "ca.conf").write_text(
        f"[ca]\ndefault_ca = one\n[one]\ndatabase = {folder}/index\nnew_certs_dir = {folder}\n"
        "rand_serial = yes\ndefault_md = sha256\npolicy = any\nx509_extensions = names\n"
        "[any]\ncommonName = supplied\n[names]\nsubjectAltName = IP:127.0.0.1\n")
    run = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key,
                    "-out", request, "-subj", "/CN=127.0.0.1"], **run)
    subprocess.run(["openssl", "ca", "-selfsign", "-batch", "-config", folder / "ca.conf",
                    "-keyfile", key, "-in", request, "-out", cert, "-notext",
                    "-startdate", "20200101000000Z", "-enddate", "20200102000000Z"], **run)
    both = folder / "server.pem"
    both.write_text(key.read_text() + cert.read_text())
    return both, cert


class SecureBroker(broker.Broker):
    """bootstrap: plain; sasl, tls: the other listeners; certificate: the expired one."""

    def _configure(self):
        self.sasl, self.tls = (f"127.0.0.1:{free_port()}" for _ in range(2))
        server, self.certificate = expired_certificate(self.folder)
        plain = f"PLAINTEXT://127.0.0.1:{self.port},SASL://{self.sasl},TLS://{self.tls}"
        login = "org.apache.kafka.common.security.plain.PlainLoginModule"
        self.extra += [
            f"listeners={plain},CONTROLLER://127.0.0.1:{self.controller_port}",
            f"advertised.listeners={plain}",
            "listener.security.protocol.map="
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL",
            "sasl.enabled.mechanisms=PLAIN",
            f"listener.name.sasl.plain.sasl.jaas.config={login} required "
            f'user_{USER}="{PASSWORD}";',
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users=User:ANONYMOUS",
            f"listener.name.tls.ssl.keystore.location={server}",
            "listener.name.tls.ssl.keystore.type=PEM",
            "message.max.bytes=125829120",
            "replica.fetch.max.bytes=125829120",
            "socket.request.max.bytes=209715200",
        ]
        super()._configure()

    def _java(self, *arguments):
        return [a.replace("-Xmx512m", "-Xmx1g") for a in super()._java(*arguments)]
