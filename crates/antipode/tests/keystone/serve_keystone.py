#!/usr/bin/env python3
"""A real Keystone on loopback, for tests: SQLite, fernet tokens, one process, everything in one folder.

    serve_keystone.py FOLDER PASSWORD

The user `admin` of the project `admin` has the password. Prints `ready PORT`, then serves until standard input ends.
"""

import os
import sys
import threading

folder, password = os.path.abspath(sys.argv[1]), sys.argv[2]
sys.argv = sys.argv[:1]
configuration = os.path.join(folder, "keystone.conf")

CONFIGURATION = f"""[DEFAULT]
log_file = {folder}/keystone.log
[database]
connection = sqlite:///{folder}/keystone.db
[token]
provider = fernet
[fernet_tokens]
key_repository = {folder}/fernet
[fernet_receipts]
key_repository = {folder}/fernet
[credential]
key_repository = {folder}/credential
[cache]
enabled = false
"""


def end_with_standard_input():
    # Past the buffer, whose lock the interpreter wants when it ends for a reason of its own.
    while os.read(0, 4096):
        pass
    os._exit(0)


def write_files():
    from cryptography.fernet import Fernet

    with open(configuration, "w", encoding="utf-8") as file:
        file.write(CONFIGURATION)
    for name in ("fernet", "credential"):
        os.mkdir(os.path.join(folder, name), 0o700)
        for number in ("0", "1"):
            with open(os.path.join(folder, name, number), "wb") as file:
                file.write(Fernet.generate_key())


def main():
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    write_files()
    os.environ["OS_KEYSTONE_CONFIG_FILES"] = configuration
    os.environ["OS_KEYSTONE_CONFIG_DIR"] = folder

    from keystone.cmd import bootstrap
    from keystone.common.sql import upgrades
    from keystone.server.flask import core
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *_):
            pass

    application = core.initialize_application(name="public", config_files=[configuration])
    upgrades.offline_sync_database_to_version()
    # The application has loaded them, and twice is refused.
    bootstrap.backends.load_backends = lambda: None
    first = bootstrap.Bootstrapper()
    first.admin_username, first.admin_password, first.admin_role_name = "admin", password, "admin"
    first.project_name = "admin"
    first.bootstrap()
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    print("ready", server.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
