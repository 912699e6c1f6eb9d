"""Checks tools/antipode_restore.py against the published vectors: vectors.py READER VECTORS"""

import importlib.util
import json
import re
import sys
import tempfile
from pathlib import Path


def load(path):
    spec = importlib.util.spec_from_file_location("reader", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sys.dont_write_bytecode = True
reader = load(sys.argv[1])


def vectors(name):
    return json.loads((Path(sys.argv[2]) / name).read_text())


def opener(keys):
    secrets = tuple(bytes.fromhex(keys[name]) for name in ("DK_id", "DK_1", "SK_1"))
    return reader.Opener({(bytes.fromhex(keys["domain"]), keys["epoch"]): secrets})


def check_objects():
    kept = vectors("objects.json")
    for vector in kept["objects"]:
        if vector["kind"] > 4:  # under keys that a reader never has
            continue
        plain = bytes.fromhex(vector["plaintext"])
        check = bytes.fromhex(vector["id"])[:16] if vector["id"] else None
        expected = reader.Expected(vector["kind"], vector["level"], len(plain), check)
        address, stored = bytes.fromhex(vector["address"]), bytes.fromhex(vector["stored"])
        opened, _, _ = opener(kept["keys"]).open(address, stored, expected)
        assert opened == plain, vector["name"]


def check_refusals():
    kept = vectors("refusals.json")
    steps = set()
    for vector in kept["objects"]:
        check = bytes.fromhex(vector["check"]) if vector["check"] else None
        expected = reader.Expected(vector["kind"], vector["level"], vector["plain_len"], check)
        try:
            address, stored = bytes.fromhex(vector["address"]), bytes.fromhex(vector["stored"])
            opener(kept["keys"]).open(address, stored, expected)
            assert vector["step"] == 0, f"{vector['name']} was accepted"
        except reader.Refused as error:
            assert vector["step"] > 0, f"{vector['name']}: {error}"
        steps.add(vector["step"])
    assert steps == set(range(9))


def write(folder, name, digits):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes.fromhex(digits))


def check_signed():
    kept = vectors("signed.json")
    root, seed = reader.parse_kit([kept["kit"]])
    assert (root.hex(), seed.hex()) == (kept["root_fingerprint"], kept["recovery_seed"])
    recovery_key = reader.X25519PrivateKey.from_private_bytes(reader.D("antipode v1 recovery x25519", seed))
    assert reader.fingerprint(recovery_key.public_key().public_bytes_raw())[:16].hex() == kept["recovery_key_id"]
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        write(store, f"cards/{kept['region']}/00000001.card", kept["card"]["bytes"])
        signers = reader.Signers(store, root)
        recovery = kept["wraps"][2]
        write(store, recovery["name"], recovery["bytes"])
        keys = reader.open_wraps((store / recovery["name"]).parent, signers, recovery_key)
        expected = opener(kept["keys"]).keys
        assert keys == expected
        manifest = kept["manifest"]
        name = f"{manifest['digest']}.manifest"
        write(store, name, manifest["bytes"])
        item = reader.Item(store, store / name, signers, reader.Opener(keys))
        assert item.item.hex == manifest["item"] and item.resource_id == manifest["resource_id"]
        assert item.resource_name == manifest["resource_name"] and item.tag.hex() == manifest["resource_tag"]
        volume = item.volumes[0]
        assert (volume.id, volume.size) == (manifest["volume_id"], manifest["size_bytes"])
        assert (volume.root.hex(), reader.root_level(volume)) == (manifest["root"], manifest["root_level"])
        properties = bytes.fromhex(kept["properties"]["bytes"])
        digest = signers.verify("state", properties, bytes.fromhex(kept["region"]), properties[22:38])
        assert digest.hex() == kept["properties"]["digest"]
    # The pin is the destination's word on the source: believed from the destination's root.
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        own = bytes.fromhex(kept["destination_card"]["bytes"])
        write(store, f"cards/{own[6:22].hex()}/00000001.card", own.hex())
        write(store, f"cards/{kept['region']}/00000001.card", kept["card"]["bytes"])
        write(store, f"pins/{kept['region']}.pin", kept["pin"]["bytes"])
        signers = reader.Signers(store, reader.fingerprint(own[22:54]))
        assert bytes.fromhex(kept["region"]) in signers.names
        for kind in ("receipt", "head"):
            signed = bytes.fromhex(kept[kind]["bytes"])
            key_id = signed[4 + 48:][:16] if kind == "receipt" else signed[6 + 48:][:16]
            signers.verify(kind, signed, own[6:22], key_id)


def check_pack():
    kept = vectors("pack.json")
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), kept["file_name"], kept["pack"])
        packs = reader.Packs(Path(folder))
        assert len(packs.places) == kept["object_count"]
        for address in packs.places:
            assert reader.H(packs.read(address)) == address


def check_kits():
    kit = vectors("signed.json")["kit"]
    typed = re.sub(r"(?m)^ +", "\t", kit.upper())
    assert reader.parse_kit([typed]) == reader.parse_kit([kit])
    for wrong in (kit.replace("seed 2", "seed 3"), kit + kit, kit.replace("check ", "check f", 1)):
        try:
            reader.parse_kit([wrong])
            raise AssertionError("a wrong kit was accepted")
        except reader.Refused:
            pass


check_objects()
check_refusals()
check_signed()
check_pack()
check_kits()
