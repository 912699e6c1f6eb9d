#!/usr/bin/env python3
"""Restores disks from a bare Antipode store and a recovery kit, knowing nothing but docs/format.md.

    antipode_restore.py list    --store DIRECTORY --kit SHEET...      (prints JSON)
    antipode_restore.py restore --store DIRECTORY --kit SHEET... --item ID --volume ID --output FILE

A kit is one sheet, or enough sheets with shares. Instead of --kit: --seed HEX --fingerprint HEX (32 bytes each). The
store is only read. Every signature, digest, tag and check on the way is verified; the first that fails ends the restore,
and no file appears under the output's name.
Section numbers below are those of docs/format.md. Needs Python 3.11 and tools/requirements.txt.
"""

import argparse
import hmac
import json
import os
import re
import struct
import sys
import uuid
from collections import namedtuple
from pathlib import Path

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CHUNK, NODE, BODY, DESCRIPTION = 1, 2, 3, 4
MIB = 1 << 20
ZERO = bytes(32)

class Refused(Exception):
    """The store holds something that this reader does not accept."""

def require(condition, why):
    if not condition:
        raise Refused(why)

def each(folder, pattern, read):
    """Reads files of a folder. One that is refused is left out with a warning: it may be litter or damaged, and
    whatever needed it will say so."""
    for path in sorted(folder.glob(pattern)) if folder.is_dir() else []:
        try:
            read(path)
        except Refused as error:
            print(f"warning: {path.name}: {error}", file=sys.stderr)

# §2 Notation
def H(data): return blake3(data).digest()
def K(key, data, length=32): return blake3(data, key=key).digest(length=length)
def D(label, data): return blake3(data, derive_key_context=label).digest()

class Fields:
    """Takes fields from the front of bytes and accounts for every one of them."""

    def __init__(self, what, data):
        self.what, self.data, self.at = what, bytes(data), 0

    def fixed(self, length):
        require(length <= len(self.data) - self.at, f"{self.what}: it ends too early")
        self.at += length
        return self.data[self.at - length:self.at]

    def u8(self): return int.from_bytes(self.fixed(1), "little")
    def u16(self): return int.from_bytes(self.fixed(2), "little")
    def u32(self): return int.from_bytes(self.fixed(4), "little")
    def u64(self): return int.from_bytes(self.fixed(8), "little")

    def bytes(self):
        return self.fixed(self.u32())

    def str(self):
        try:
            return self.bytes().decode("utf-8")
        except UnicodeDecodeError:
            raise Refused(f"{self.what}: a string is not UTF-8") from None

    def bool(self):
        value = self.u8()
        require(value < 2, f"{self.what}: a truth value is neither 0 nor 1")
        return value == 1

    def option(self, read):
        return read() if self.bool() else None

    def list(self, item_bytes, read):
        count = self.u32()
        require(count * item_bytes <= len(self.data) - self.at, f"{self.what}: a list of {count} items")
        return [read() for _ in range(count)]

    def expect(self, constant):
        require(self.fixed(len(constant)) == constant, f"{self.what}: another magic or version")

    def end(self):
        require(self.at == len(self.data), f"{self.what}: bytes left over")

# §10 Signed things: whom to believe
VERSION = b"\1\0"

def fingerprint(public_key):
    return D("antipode v1 key id", public_key)

def verify(kind, signed, public_key):
    """Checks a signature and returns the digest of what was signed."""
    require(len(signed) >= 64, f"{kind}: too short for a signature")
    digest = D(f"antipode v1 digest {kind}", signed[:-64])
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(signed[-64:], f"antipode v1 sign {kind}".encode() + b"\0" + digest)
    except (InvalidSignature, ValueError):
        raise Refused(f"{kind}: the signature does not verify") from None
    return digest

class Signers:
    """The regions this reader believes, and their signing keys by (region, key id)."""

    def __init__(self, store, root_fingerprint):
        self.store, self.names, self.keys = store, {}, {}
        own = root_fingerprint[:16]
        self.add_region(root_fingerprint)
        require(self.names, f"the store holds no card of region {own.hex()}")
        each(store / "pins", "*.pin", lambda path: self.add_pinned(path, own))

    def add_region(self, root_fingerprint):
        folder = self.store / "cards" / root_fingerprint[:16].hex()
        each(folder, "*.card", lambda path: self.add_card(path, root_fingerprint))

    def add_card(self, path, root_fingerprint):
        signed = path.read_bytes()
        card = Fields("card", signed[:-64])
        card.expect(b"APD1" + VERSION)
        region, root_key = card.fixed(16), card.fixed(32)
        require(fingerprint(root_key) == root_fingerprint and region == root_fingerprint[:16], "another root key")
        verify("card", signed, root_key)
        name, signing_key = card.str(), card.fixed(32)
        card.fixed(32 + 32)
        require(path.name == f"{card.u64():08}.card", "it lies under another one's name")
        card.fixed(8 + 8)
        card.option(lambda: card.fixed(32))
        card.end()
        self.names[region] = name
        self.keys[region, fingerprint(signing_key)[:16]] = signing_key

    def add_pinned(self, path, own):
        signed = path.read_bytes()
        pin = Fields("pin", signed[:-64])
        pin.expect(b"APP1" + VERSION)
        region, key_id = pin.fixed(16), pin.fixed(16)
        if region != own:  # §10: pins of others count for nothing
            return
        self.verify("state", signed, region, key_id)
        peer, root_key = pin.fixed(16), pin.fixed(32)
        require(path.name == f"{peer.hex()}.pin", "it lies under another one's name")
        pin.str(), pin.u64(), pin.end()
        require(fingerprint(root_key)[:16] == peer, "pin: another region than its root key has")
        self.add_region(fingerprint(root_key))

    def verify(self, kind, signed, region, key_id):
        key = self.keys.get((region, key_id))
        require(key, f"{kind}: no believed card of region {region.hex()} names key {key_id.hex()}")
        return verify(kind, signed, key)

# §12 Wraps
def hpke_open(private_key, info, enc, ciphertext):
    """RFC 9180 base mode, X25519 with HKDF-SHA256 and AES-256-GCM, single shot, empty AAD."""
    def extract(suite, salt, label, data):
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + data, "sha256")

    def expand(suite, key, label, data, length):
        text, block, out, count = struct.pack(">H", length) + b"HPKE-v1" + suite + label + data, b"", b"", 1
        while len(out) < length:
            block = hmac.digest(key, block + text + bytes([count]), "sha256")
            out, count = out + block, count + 1
        return out[:length]

    kem, suite = b"KEM\0\x20", b"HPKE\0\x20\0\1\0\2"
    own = private_key.public_key().public_bytes_raw()
    shared = private_key.exchange(X25519PublicKey.from_public_bytes(enc))
    secret = expand(kem, extract(kem, b"", b"eae_prk", shared), b"shared_secret", enc + own, 32)
    context = b"\0" + extract(suite, b"", b"psk_id_hash", b"") + extract(suite, b"", b"info_hash", info)
    secret = extract(suite, secret, b"secret", b"")
    key, nonce = expand(suite, secret, b"key", context, 32), expand(suite, secret, b"base_nonce", context, 12)
    return AESGCM(key).decrypt(nonce, ciphertext, b"")

def open_wraps(folder, signers, recovery_key):
    """All keys wrapped for the recovery key: {(domain, epoch): (DK_id, DK_e, SK_e)}."""
    keys, own = {}, fingerprint(recovery_key.public_key().public_bytes_raw())[:16]

    def read(path):
        signed = path.read_bytes()
        wrap = Fields("wrap", signed[:-64])
        wrap.expect(b"APW1")
        domain, epoch, role = wrap.fixed(16), wrap.u32(), wrap.u8()
        region, key_id, recipient, key_check = wrap.fixed(16), wrap.fixed(16), wrap.fixed(16), wrap.fixed(32)
        info = b"antipode v1 wrap\0" + wrap.data[:wrap.at]
        enc, ciphertext = wrap.fixed(32), wrap.bytes()
        wrap.end()
        signers.verify("wrap", signed, region, key_id)
        name = f"{epoch:08}-{role}-{recipient.hex()}-{key_check.hex()}.wrap"
        require(role == 3 and recipient == own and epoch > 0 and path.name == name, "it is not what its name says")
        try:
            plain = hpke_open(recovery_key, info, enc, ciphertext)
        except (InvalidTag, ValueError):
            raise Refused("it does not open") from None
        require(len(plain) == 96 and D("antipode v1 key check", plain) == key_check, "other keys than it states")
        secrets = plain[:32], plain[32:64], plain[64:]
        require(keys.setdefault((domain, epoch), secrets) == secrets, "other keys for an epoch that has some")

    each(folder, f"*-3-{own.hex()}-*.wrap", read)
    return keys

# §6 Objects
Expected = namedtuple("Expected", "kind level plain_len check", defaults=(0, None, None))

class Opener:
    def __init__(self, keys):
        self.keys, self.class_keys = keys, {}

    def keys_for(self, kind, domain, epoch):
        """id_key, enc, siv (§4)."""
        place = kind, domain, epoch
        if place not in self.class_keys:
            require((domain, epoch) in self.keys, f"no key for domain {domain.hex()} epoch {epoch}")
            identity, data, structure = self.keys[domain, epoch]
            name, master = ("data", data) if kind in (CHUNK, DESCRIPTION) else ("structure", structure)
            self.class_keys[place] = (D("antipode v1 domain dedup id", identity),
                                      D(f"antipode v1 {name} enc", master), D(f"antipode v1 {name} siv", master))
        return self.class_keys[place]

    def open(self, address, stored, expected):
        name = f"object {address.hex()}"
        plain_max = MIB if expected.kind in (CHUNK, NODE) else 16 * MIB
        require(90 <= len(stored) <= -(-(plain_max + 9) // 65536) * 65536 + 80, f"{name}: unlawful length")
        require(H(stored) == address, f"{name}: the bytes have another address")
        header, (magic, suite, kind, level, pad, domain, epoch, reserved, s) = \
            stored[:64], struct.unpack("<4sBBBB16sII32s", stored[:64])
        require(magic == b"APO1" and suite == 1 and reserved == 0, f"{name}: another magic, suite or reserved bytes")
        require(kind == expected.kind and level == expected.level, f"{name}: another kind or level")
        require(pad == 0 or 9 <= pad <= 16, f"{name}: unlawful padding")
        id_key, enc, siv = self.keys_for(kind, domain, epoch)
        both = K(enc, s, 44)
        try:
            payload = AESGCM(both[:32]).decrypt(both[32:], stored[64:], header)
        except InvalidTag:
            raise Refused(f"{name}: the tag does not match") from None
        plain = self.unpack(name, payload, pad, plain_max, expected.plain_len)
        if expected.check is not None:
            require(K(id_key, b"\1" + plain)[:16] == expected.check, f"{name}: another plaintext than its leaf lists")
        else:
            require(K(siv, header[:32] + payload) == s, f"{name}: another synthetic value")
        return plain, domain, epoch

    @staticmethod
    def unpack(name, payload, pad, plain_max, wanted_len):
        codec, plain_len, body_len = struct.unpack("<BII", payload[:9])
        full = 9 + body_len if pad == 0 else -(-(9 + body_len) // (1 << pad)) * (1 << pad)
        require(full == len(payload) and not any(payload[9 + body_len:]), f"{name}: lengths or padding")
        require(0 < plain_len <= plain_max and wanted_len in (None, plain_len), f"{name}: unexpected plain length")
        body = payload[9:9 + body_len]
        if codec == 0:
            require(body_len == plain_len, f"{name}: a raw body of another length")
            return body
        require(codec == 1 and body_len < plain_len, f"{name}: unknown codec, or a body that is not smaller")
        try:
            frame, stated = zstandard.get_frame_parameters(body), (plain_len, zstandard.CONTENTSIZE_UNKNOWN)
            require(frame.dict_id == 0 and frame.window_size <= plain_max, f"{name}: dictionary or large window")
            require(frame.content_size in stated, f"{name}: the frame states another length")
            plain = zstandard.ZstdDecompressor().decompress(body, max_output_size=plain_len, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise Refused(f"{name}: {error}") from None
        require(len(plain) == plain_len, f"{name}: the frame has another length")
        return plain

# §8 Packs
class Packs:
    """Where every object of a vault lies, from the footers of its packs."""

    def __init__(self, folder):
        self.places, self.folder, self.open_files = {}, folder, {}
        each(folder, "*.pack", self.read_footer)

    def read_footer(self, path):
        size = path.stat().st_size
        with path.open("rb") as pack:
            require(size >= 44, "too short for a trailer")
            pack.seek(size - 44)
            offset, digest, magic = struct.unpack("<Q32s4s", pack.read(44))
            require(magic == b"APK1" and offset <= size - 44, "no trailer, or one that points outside")
            pack.seek(offset)
            footer = pack.read(size - 44 - offset)
        require(H(footer) == digest, "the footer has another digest")
        fields, end, places = Fields("footer", footer), 0, []
        for kind, start, length, address in fields.list(45, lambda: struct.unpack("<BQI32s", fields.fixed(45))):
            require(kind in (CHUNK, NODE) and end <= start and start + length <= offset, "an unlawful entry")
            end = start + length
            places.append((address, (path.name, start, length)))
        fields.option(fields.bytes)
        fields.end()
        for address, place in places:
            self.places.setdefault(address, []).insert(0, place)

    def read(self, address):
        require(address in self.places, f"object {address.hex()} is in no pack")
        for name, start, length in self.places[address]:  # the newest copy first: an older one may be damaged
            if name not in self.open_files:
                self.open_files = {name: (self.folder / name).open("rb")}
            self.open_files[name].seek(start)
            stored = self.open_files[name].read(length)
            if H(stored) == address:
                break
        return stored

# §9 Manifests, §7 trees
Volume = namedtuple("Volume", "id size segment fan_out root")

class Item:
    def __init__(self, folder, path, signers, opener):
        signed = path.read_bytes()
        manifest = Fields("manifest", signed[:-64])
        manifest.expect(b"APM1" + VERSION)
        self.region, _incarnation, key_id = manifest.fixed(16), manifest.fixed(16), manifest.fixed(16)
        self.digest = signers.verify("manifest", signed, self.region, key_id)
        require(self.digest.hex() + ".manifest" == path.name, "the name of another manifest")
        self.domain, self.tag, _sequence_and_previous = manifest.fixed(16), manifest.fixed(16), manifest.fixed(8 + 32)
        epochs = manifest.list(4, manifest.u32)
        require(epochs and epochs[0] > 0 and epochs == sorted(set(epochs)), "manifest: the epochs do not ascend")
        self.logical_bytes, _objects, _stored = manifest.u64(), manifest.u64(), manifest.u64()
        body, description = manifest.bytes(), manifest.bytes()
        manifest.end()
        self.folder, self.opener, self.epoch = folder, opener, epochs[-1]
        self.read_body(Fields("manifest body", self.open_part(BODY, body)))
        description = Fields("description", self.open_part(DESCRIPTION, description))
        description.expect(VERSION)
        self.resource_name = description.str()

    def open_part(self, kind, stored):
        plain, domain, epoch = self.opener.open(H(stored), stored, Expected(kind))
        require((domain, epoch) == (self.domain, self.epoch), "manifest: a part of another domain or epoch")
        return plain

    def read_body(self, body):
        body.expect(VERSION)
        self.item, self.checkpoint = uuid.UUID(bytes=body.fixed(16)), uuid.UUID(bytes=body.fixed(16))
        self.resource_id, self.project_id = body.str(), body.str()
        self.started_ms, self.ended_ms = body.u64(), body.u64()
        self.volumes = body.list(51, lambda: self.read_volume(body))
        body.end()
        require(sum(volume.size for volume in self.volumes) == self.logical_bytes, "body: sizes do not sum up")
        tag_key = D("antipode v1 domain resource tag", self.opener.keys[self.domain, self.epoch][0])
        require(K(tag_key, self.resource_id.encode())[:16] == self.tag, "body: another resource")

    @staticmethod
    def read_volume(body):
        volume_id, size, segment, fan_out, level = body.str(), body.u64(), body.u32(), body.u16(), body.u8()
        require(4096 <= segment <= 32 * MIB and segment & (segment - 1) == 0 and 2 <= fan_out <= 4096, "body: shape")
        volume = Volume(volume_id, size, segment, fan_out, body.fixed(32))
        require(level == root_level(volume) <= 6, "body: a tree is not of minimal depth")
        return volume

    def restore(self, volume, output):
        packs = Packs(self.folder / "packs")
        output.truncate(volume.size)
        self.restore_node(packs, volume, root_level(volume), 0, volume.root, output)

    def restore_node(self, packs, volume, level, index, address, output):
        if address == ZERO:
            return
        plain, domain, _ = self.opener.open(address, packs.read(address), Expected(NODE, level))
        require(domain == self.domain, "a node of another domain")
        if level == 0:
            return self.restore_leaf(packs, volume, index, Fields("leaf", plain), output)
        node = Fields("inner node", plain)
        children = node.list(32, lambda: node.fixed(32))
        node.end()
        first = index * volume.fan_out
        require(len(children) == min(volume.fan_out, node_count(volume, level - 1) - first), "node: another place")
        require(any(child != ZERO for child in children), "node: nothing but zeros")
        for position, child in enumerate(children):
            self.restore_node(packs, volume, level - 1, first + position, child, output)

    def restore_leaf(self, packs, volume, index, leaf, output):
        offset = index * volume.segment
        end = min(offset + volume.segment, volume.size)
        entries = leaf.list(52, lambda: struct.unpack("<I32s16s", leaf.fixed(52)))
        leaf.end()
        require(any(address != ZERO for _, address, _ in entries), "leaf: nothing but zeros")
        require(offset + sum(length for length, _, _ in entries) == end, "leaf: another place")
        for length, address, check in entries:
            require(length > 0, "leaf: an empty entry")
            if address == ZERO:
                require(check == bytes(16), "leaf: a hole with a check")
            else:
                stored = packs.read(address)
                plain, domain, _ = self.opener.open(address, stored, Expected(CHUNK, 0, length, check))
                require(domain == self.domain, "a chunk of another domain")
                output.seek(offset)
                output.write(plain)
            offset += length

def node_count(volume, level):
    count = -(-volume.size // volume.segment)
    for _ in range(level):
        count = -(-count // volume.fan_out)
    return count

def root_level(volume):
    return next((level for level in range(65) if node_count(volume, level) <= 1), 65)

# §17 Recovery
def parse_sheet(text):
    """The root fingerprint on a sheet, and its seed (32 bytes) or its share (59)."""
    def rows(word, length):
        return b"".join(row(word, number, min(8, length - 8 * number + 8)) for number in range(1, -(-length // 8) + 1))

    def row(word, number, length):
        pattern = rf"^\s*{word}\s+{number}\s+((?:[0-9a-f]\s*){{{2 * length}}})check\s*((?:[0-9a-f]\s*){{4}})$"
        found = re.findall(pattern, text.lower(), re.MULTILINE)
        require(len(found) == 1, f'kit: row "{word} {number}" must be there once, without mistakes')
        digits, check = ("".join(part.split()) for part in found[0])
        data = bytes.fromhex(digits)
        expected = D("antipode v1 kit row", word.encode() + bytes([number]) + data)[:2]
        require(bytes.fromhex(check) == expected, f'kit: row "{word} {number}" is mistyped')
        return data
    has_share = re.search(r"^\s*share\s+1\s", text.lower(), re.MULTILINE)
    return rows("root", 32), rows("share", 59) if has_share else rows("seed", 32)

def multiply(left, right):
    """The product in GF(256) with the polynomial 0x11B."""
    product = 0
    for bit in range(8):
        product ^= (left << bit) * (right >> bit & 1)
    for bit in range(14, 7, -1):
        product ^= (0x11B << bit - 8) * (product >> bit & 1)
    return product

def join_shares(shares):
    """The seed, from k different shares of one set."""
    for share in shares:
        require(share[:4] == b"APR1" and H(share[:55])[:4] == share[55:], "kit: a share has another magic or check")
    require(len({share[4:22] for share in shares}) == 1, "kit: shares of different sets")
    points = {share[22]: share[23:55] for share in shares}
    require(0 not in points and len(points) >= shares[0][20], f"kit: {len(points)} shares of {shares[0][20]} needed")
    points, seed = dict(list(points.items())[:shares[0][20]]), bytes(32)
    for x, y in points.items():
        weight = 1
        for other in points.keys() - {x}:
            inverse = next(value for value in range(256) if multiply(value, x ^ other) == 1)
            weight = multiply(weight, multiply(other, inverse))
        seed = bytes(sum_ ^ multiply(weight, byte) for sum_, byte in zip(seed, y))
    return seed

def parse_kit(texts):
    """The root fingerprint and the seed on one sheet, or on enough sheets with shares."""
    roots, secrets = zip(*map(parse_sheet, texts))
    require(len(set(roots)) == 1, "kit: sheets of different regions")
    whole = next((secret for secret in secrets if len(secret) == 32), None)
    return roots[0], whole or join_shares(secrets)

def secrets_from(arguments):
    root, seed = (bytes.fromhex(text) if text else None for text in (arguments.fingerprint, arguments.seed))
    if arguments.kit:
        kit_root, seed = parse_kit([Path(path).read_text(encoding="utf-8") for path in arguments.kit])
        require(root in (None, kit_root), "the kit belongs to another region than --fingerprint")
        root = kit_root
    require(root and seed and len(root) == len(seed) == 32, "give --kit, or --seed and --fingerprint of 32 bytes each")
    return root, X25519PrivateKey.from_private_bytes(D("antipode v1 recovery x25519", seed))

def items(store, root, recovery_key):
    """Every item this kit opens, and a warning for each manifest that it does not."""
    content = (store / "format").read_bytes()
    require(content == b"antipode store 1\n", f"{content[:64]!r} is no store of version 1, which this reader reads")
    signers, found = Signers(store, root), []
    for folder in sorted((store / "vaults").iterdir()):
        opener = Opener(open_wraps(folder / "wraps", signers, recovery_key))
        each(folder / "manifests", "*.manifest", lambda path: found.append(Item(folder, path, signers, opener)))
    return signers, sorted(found, key=lambda item: (item.resource_id, item.started_ms, item.digest))

def list_items(signers, found):
    print(json.dumps([{
        "item": str(item.item), "checkpoint": str(item.checkpoint), "region": signers.names[item.region],
        "project": item.project_id, "resource": item.resource_id, "resource_name": item.resource_name,
        "started_ms": item.started_ms, "ended_ms": item.ended_ms, "manifest": item.digest.hex(),
        "volumes": [{"id": volume.id, "size_bytes": volume.size} for volume in item.volumes],
    } for item in found], indent=1))

def restore(found, arguments):
    wanted = arguments.item.replace("-", "").lower()
    matches = [item for item in found if wanted in (item.item.hex, item.digest.hex())]
    require(matches, f"no item {arguments.item} can be opened with this kit")
    volumes = [volume for volume in matches[0].volumes if volume.id == arguments.volume]
    require(volumes, f"the item has no volume {arguments.volume}")
    output, part = Path(arguments.output), Path(arguments.output + ".part")
    require(not output.exists(), f"{output} exists")
    with part.open("wb") as file:
        matches[0].restore(volumes[0], file)
        file.flush()
        os.fsync(file.fileno())
    os.link(part, output)
    part.unlink()
    print(f"restored {volumes[0].size} bytes to {output}")

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["list", "restore"])
    parser.add_argument("--store", required=True)
    parser.add_argument("--kit", nargs="+", metavar="SHEET")
    for option in ("seed", "fingerprint", "item", "volume", "output"):
        parser.add_argument("--" + option)
    arguments = parser.parse_args()
    if arguments.command == "restore" and not (arguments.item and arguments.volume and arguments.output):
        parser.error("restore needs --item, --volume and --output")
    try:
        signers, found = items(Path(arguments.store), *secrets_from(arguments))
        if arguments.command == "list":
            list_items(signers, found)
        else:
            restore(found, arguments)
    except (Refused, OSError, ValueError) as error:
        sys.exit(f"refused: {error}")

if __name__ == "__main__":
    main()
