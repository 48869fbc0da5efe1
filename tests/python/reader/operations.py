"""The operations of the vectors (vectors/README.md), by docs/protocol.md."""

import re

from . import cbor, primitives as p
from .documents import Documents, is_handle, padme, sealed_length
from .layers import Refused, demand
from .primitives import hkdf, sha256
from .roster import Roster, Signed, is_fork, prefixed

RUN = re.compile(r"\(([0-9a-f]{2})\)\*(\d+)\.?")
SAFE = 2**53 - 1


def unhex(text):
    """Hexadecimal digits with runs `(xx)*n`."""
    return bytes.fromhex(RUN.sub(lambda run: run[1] * int(run[2]), text))


def number(value):
    return value if value <= SAFE else str(value)


def base32(bits):
    return "0123456789abcdefghjkmnpqrstvwxyz"[bits]


class Operations:
    def __init__(self, spec):
        self.spec = spec
        self.documents = Documents(spec)
        self.labels = spec.labels

    def run(self, op, inputs):
        return getattr(self, "op_" + op)(Inputs(inputs))

    def hash(self, label, data):
        return sha256(self.labels[label] + data)

    # -- encoding

    def op_cbor(self, i):
        return {"value": cbor.show(cbor.parse(i.bytes("bytes")))}

    def op_decode(self, i):
        data = i.bytes("bytes")
        if i["type"] == "Header":
            return {"value": cbor.show(self.documents.header(data)[1])}
        return {"value": cbor.show(self.documents.decode(i["type"], data))}

    def op_label(self, i):
        return {"bytes": self.labels[i["name"]].hex()}

    def op_kind(self, i):
        demand(i["number"] in self.spec.kinds, "decode", "no such kind")
        kind = self.spec.kinds[i["number"]]
        return {
            "name": kind["name"],
            "content": kind["object"] == "Core",
            "control": kind["object"] == "ControlBody",
            "label": kind["label"],
            "lane": kind["lane"],
            "groups": kind["groups"],
        }

    def op_enumeration(self, i):
        values = self.spec.enumerations[i["name"]]
        demand(i["number"] in values, "decode", "no such value")
        self.documents.seen.add((i["name"], i["number"]))
        return {"name": "".join(part[0].upper() + part[1:].lower() for part in values[i["number"]].split())}

    # -- names

    def op_handle(self, i):
        demand(is_handle(i["text"]), "decode", "no handle")
        return {"handle": i["text"]}

    def op_address(self, i):
        text = i["text"].removeprefix("@")
        handle, _, fingerprint = text.partition("#")
        demand(is_handle(handle.lower()), "decode", "no handle")
        if "#" not in text:
            return {"handle": handle.lower(), "fingerprint": None}
        digits = re.sub("[ :-]", "", fingerprint).lower()
        demand(re.fullmatch("[0-9a-f]{64}", digits), "decode", "no fingerprint")
        return {"handle": handle.lower(), "fingerprint": digits}

    def op_identity_code(self, i):
        demand(i["text"].isascii(), "decode", "not ASCII")
        parts = i["text"].strip().lower().split(":")
        demand(len(parts) == 5 and parts[:2] == ["waxwire", "v1"], "decode", "form")
        relay, handle, fingerprint = parts[2:]
        demand(is_handle(handle), "decode", "no handle")
        for digits in (relay, fingerprint):
            demand(re.fullmatch("[0-9a-f]{64}", digits), "decode", "no fingerprint")
        return {"relay": relay, "handle": handle, "fingerprint": fingerprint}

    def relay_id(self, identity):
        return self.hash("HashRelayId", identity)

    def agent_id(self, relay, identity):
        return self.hash("HashAgentId", relay + identity)[:16]

    def direct_conversation(self, a, b):
        return self.hash("HashConversation", b"".join(sorted([sha256(a), sha256(b)])))

    def op_relay_id(self, i):
        return {"id": self.relay_id(i.bytes("identity")).hex()}

    def op_agent_id(self, i):
        return {"id": self.agent_id(i.bytes("relay"), i.bytes("identity")).hex()}

    def op_handle_tag(self, i):
        demand(is_handle(i["handle"]), "decode", "no handle")
        salt = self.hash("HashHandleTag", i.bytes("relay"))[:16]
        return {"tag": p.argon2id(i["handle"].encode(), salt, kibibytes=19_456, passes=2).hex()}

    def op_conversation_id(self, i):
        if "group" in i:
            return {"id": i.bytes("group").hex()}
        return {"id": self.direct_conversation(i.bytes("a"), i.bytes("b")).hex()}

    def op_fingerprint(self, i):
        return {"text": self.hash("HashFingerprint", i.bytes("identity")).hex()}

    def op_safety_number(self, i):
        prints = sorted(self.hash("HashFingerprint", i.bytes(name)) for name in ("a", "b"))
        first = self.hash("HashSafetyNumber", b"".join(prints))
        both = first + self.hash("HashSafetyNumber", first)
        groups = [int.from_bytes(both[at:at + 5], "big") % 100_000 for at in range(0, 60, 5)]
        return {"text": " ".join(f"{group:05}" for group in groups)}

    def op_recovery_hash(self, i):
        return {"hash": self.hash("HashRecovery", i.bytes("identity")).hex()}

    def op_credential_hash(self, i):
        return {"hash": self.hash("HashCredential", i["credential"].encode()).hex()}

    def op_core(self, i):
        data = i.bytes("bytes")
        self.body(data)
        return {"core_hash": sha256(data).hex(), "message_id": self.hash("HashMessageId", data).hex()}

    def recovery(self, seed):
        public = b"\x00\x01" + p.sign(seed, b"")[0]
        return public, self.hash("HashRecovery", public)

    def op_recovery_text(self, i):
        seed = i.bytes("seed")
        public, hash_ = self.recovery(seed)
        bits = int.from_bytes(seed + hash_[:3], "big")
        letters = "".join(base32(bits >> shift & 31) for shift in range(275, -1, -5))
        text = "wxr_" + "-".join(letters[at:at + 7] for at in range(0, 56, 7))
        return {"text": text, "public": public.hex(), "hash": hash_.hex()}

    def op_recovery_parse(self, i):
        text = i["text"].strip().lower()
        demand(text.startswith("wxr_"), "decode", "prefix")
        letters = re.sub(r"[\s-]", "", text[4:]).translate(str.maketrans("oil", "011"))
        alphabet = "".join(map(base32, range(32)))
        demand(len(letters) == 56 and all(c in alphabet for c in letters), "decode", "characters")
        bits = 0
        for letter in letters:
            bits = bits << 5 | alphabet.index(letter)
        data = bits.to_bytes(35, "big")
        public, hash_ = self.recovery(data[:32])
        demand(hash_[:3] == data[32:], "decode", "checksum")
        return {"public": public.hex()}

    # -- keys and signatures

    def op_identity_key(self, i):
        key = i.bytes("identity")
        demand(p.is_identity_key(int.from_bytes(key[:2], "big"), key[2:]), "signature", "no key")
        return {}

    def op_sign(self, i):
        public, signature = p.sign(i.bytes("seed"), self.labels[i["label"]] + i.bytes("message"))
        return {"identity": "0001" + public.hex(), "signature": signature.hex()}

    def op_verify(self, i):
        p.verify(i.bytes("identity"), self.labels[i["label"]], i.bytes("message"), i.bytes("signature"), by_text=True)
        return {}

    def op_encryption_key(self, i):
        demand(p.is_encryption_key(i.bytes("key")), "rule", "not acceptable")
        return {}

    def op_signed(self, i):
        data = i.bytes("bytes")
        signed = self.documents.decode("Signed", data)
        body = self.documents.decode(i["type"], signed[1])
        label, who = self.spec.signers[i["type"]][0]
        if who == "the relay":
            signer = i.bytes("signer")
        else:
            name = re.fullmatch("its `(.*)`", who)[1]
            field = next(each for each in self.spec.tables[i["type"]].fields if each.name == name)
            signer = prefixed(body[field.key])
        p.verify(signer, self.labels[label], signed[1], signed[2])
        if who == "the relay":
            demand(body[2] == self.relay_id(signer), "context", "another relay")
        return {"hash": sha256(data).hex(), "signer": signer.hex()}

    def op_proof(self, i):
        body = i.bytes("challenge")
        identity = prefixed(self.documents.decode("Challenge", body)[5])
        p.verify(identity, self.labels["SigProof"], body, i.bytes("signature"))
        return {"signer": identity.hex()}

    def op_succession(self, i):
        outer = self.documents.decode("SuccessionBytes", i.bytes("bytes"))
        body = self.documents.decode("Succession", outer[1])
        p.verify(prefixed(body[5]), self.labels["SigSuccessionNew"], outer[1], outer[2])
        if 3 in outer:
            p.verify(prefixed(body[4]), self.labels["SigSuccessionOld"], outer[1], outer[3])
        if 4 in outer:
            key = prefixed(outer[4])
            demand(self.hash("HashRecovery", key) == i.bytes("recovery"), "signature", "not the pinned recovery key")
            p.verify(key, self.labels["SigSuccessionRecovery"], outer[1], outer[5])
        return {"old": prefixed(body[4]).hex(), "new": prefixed(body[5]).hex()}

    def op_bundle(self, i):
        bundle = self.documents.decode("Bundle", i.bytes("bytes"))
        keys = bundle[10]
        names = [(key[1], key[2]) for key in keys]
        acceptable = all(key[1] != 1 or p.is_encryption_key(key[3]) for key in keys)
        holds = bundle[5] >= 1 and bundle[6] < bundle[7] and len(set(names)) == len(names) and acceptable
        demand(holds, "rule", "bundle")
        usable = [name for name in names if name[0] == 1 and name[0] >= bundle[9]]
        best = max(usable, default=None)
        return {"best": best and {"suite": best[0], "number": number(best[1])}}

    # -- trees

    def op_merkle_root(self, i):
        hashes = [p.leaf_hash(leaf) for leaf in i.list("leaves")]
        paths = [[each.hex() for each in p.merkle_path(hashes, index)] for index in range(len(hashes))]
        return {"root": p.merkle_root(hashes).hex(), "paths": paths}

    def op_merkle_inclusion(self, i):
        leaf = p.leaf_hash(i.bytes("leaf"))
        root = p.root_by_inclusion(leaf, i["index"], i["size"], i.list("path"))
        demand(root == i.bytes("root"), "context", "not included")
        return {}

    def op_merkle_consistency(self, i):
        holds = p.is_consistent(
            i["first"], i.bytes("first_root"), i["second"], i.bytes("second_root"), i.list("path")
        )
        demand(holds, "context", "not consistent")
        return {}

    def op_leaf_proof(self, i):
        rekey = self.documents.decode("Commit", i.bytes("commit"))[8]
        data = i.bytes("leaf")
        root = p.root_by_inclusion(p.leaf_hash(data), i["index"], rekey[5], i.list("path"))
        demand(root == rekey[4], "context", "not under the root")
        leaf = self.documents.decode("Leaf", data)
        demand(leaf[1] == i["index"] and prefixed(leaf[2]) == i.bytes("member"), "rule", "of another member")
        if len(leaf[3]) == 1:
            return {"reason": leaf[3][0]}
        return {"key_number": number(leaf[3][0]), "suite": leaf[3][1], "sealed": leaf[3][2].hex()}

    def op_leaves_root(self, i):
        leaves = self.documents.decode("Leaves", i.bytes("bytes"))[1]
        return {"root": p.merkle_root([p.leaf_hash(leaf) for leaf in leaves]).hex()}

    # -- derivations

    def derive(self, i, label, fields=b"", length=32):
        return hkdf(i.bytes("key"), self.labels[label] + fields, length).hex()

    def op_mid(self, i):
        fields = i.bytes("conversation") + i.number("attempt").to_bytes(4, "big") + sha256(i["client_msg_id"].encode())
        return {"mid": self.derive(i, "KdfSendId", fields, 16)}

    def op_epoch_commitment(self, i):
        return {"out": self.derive(i, "KdfEpochCommit")}

    def op_message_key(self, i):
        return {"out": self.derive(i, "KdfMessageKey")}

    def op_next_chain_key(self, i):
        return {"out": self.derive(i, "KdfChainNext")}

    def op_store_commitment(self, i):
        return {"out": self.derive(i, "KdfStoreCommit")}

    def op_store_wrap_key(self, i):
        return {"out": self.derive(i, "KdfStoreWrap")}

    def op_attachment_chunk_key(self, i):
        return {"out": self.derive(i, "KdfAttachment")}

    def op_backup_key(self, i):
        return {"out": self.derive(i, "KdfBackup")}

    def op_state_key(self, i):
        return {"out": self.derive(i, "KdfStateKey", i.number("generation").to_bytes(8, "big"))}

    def op_column_tag(self, i):
        name = sha256(i["column"].encode() + b"\x00" + i.bytes("value"))
        return {"out": self.derive(i, "KdfColumnTag", name, 16)}

    def op_local_proof(self, i):
        return {"out": self.derive(i, "KdfLocalToken", i.bytes("nonce") + sha256(i["place"].encode()))}

    def op_first_chain_key(self, i):
        epoch = i.number("epoch").to_bytes(8, "big")
        fields = i.bytes("group") + epoch + i.bytes("rekey_commit") + sha256(i.bytes("sender"))
        return {"out": self.derive(i, "KdfChain", fields)}

    def op_chain(self, i):
        chain, keys = i.bytes("key"), []
        for _ in range(i["count"]):
            keys.append(hkdf(chain, self.labels["KdfMessageKey"]).hex())
            chain = hkdf(chain, self.labels["KdfChainNext"])
        return {"message_keys": keys, "chain_key": chain.hex()}

    # -- boxes

    def op_sealed_box_seal(self, i):
        demand(p.is_encryption_key(i.bytes("recipient")), "rule", "nothing is sealed to this key")
        return {"box": p.seal(i.bytes("recipient"), i.bytes("ephemeral"), i.bytes("plaintext")).hex()}

    def op_sealed_box_open(self, i):
        secret = i.bytes("secret")
        return {"public": p.public_of(secret).hex(), "plaintext": p.open_sealed(secret, i.bytes("box")).hex()}

    def op_group_seal(self, i):
        nonce = i.bytes("nonce")
        return {"ciphertext": (nonce + p.aead_seal(i.bytes("key"), nonce, i.bytes("header"), i.bytes("plaintext"))).hex()}

    def op_group_open(self, i):
        return {"plaintext": p.open_with_nonce(i.bytes("key"), i.bytes("header"), i.bytes("ciphertext")).hex()}

    def op_leaf_seal(self, i):
        plaintext = b"waxwire\x20" + i.number("epoch").to_bytes(8, "big") + i.bytes("key")
        return {"sealed": p.seal(i.bytes("member"), i.bytes("ephemeral"), plaintext).hex()}

    def op_leaf_open(self, i):
        plaintext = p.open_sealed(i.bytes("secret"), i.bytes("sealed"))
        key = plaintext[16:]
        demand(len(plaintext) == 48 and plaintext[:8] == b"waxwire\x20", "open", "no epoch key")
        demand(plaintext[8:16] == i.number("epoch").to_bytes(8, "big"), "open", "another epoch")
        demand(any(key), "open", "a key of zeros")
        commitment = hkdf(key, self.labels["KdfEpochCommit"])
        demand(commitment == i.bytes("commitment"), "open", "misses its commitment")
        return {"key": key.hex()}

    def place(self, i):
        parts = i.list("place")
        return self.labels[i["label"]] + b"".join(len(part).to_bytes(4, "big") + part for part in parts)

    def op_rest_seal(self, i):
        nonce = i.bytes("nonce")
        return {"sealed": (nonce + p.aead_seal(i.bytes("key"), nonce, self.place(i), i.bytes("plaintext"))).hex()}

    def op_rest_open(self, i):
        return {"plaintext": p.open_with_nonce(i.bytes("key"), self.place(i), i.bytes("sealed")).hex()}

    def op_backup_open(self, i):
        kek, data = i.bytes("key"), i.bytes("file")
        demand(len(data) >= 88 and data[:10] == b"waxwback\0\1", "decode", "header")
        unlock, *cost = (int.from_bytes(data[a:b], "big") for a, b in ((10, 12), (12, 16), (16, 20), (20, 24)))
        demand(unlock == 1 or unlock == 2 and cost == [0, 0, 0], "decode", "unlock")
        bounds = ((19 * 1024, 1024 * 1024), (2, 10), (1, 16))
        demand(unlock == 2 or all(low <= c <= high for c, (low, high) in zip(cost, bounds)), "rule", "cost")
        header, rest = data[:88], data[88:]
        demand(header[56:] == hkdf(kek, self.labels["KdfStoreCommit"]), "open", "commitment")
        key, out, index = hkdf(kek, self.labels["KdfBackup"]), b"", 0
        while index == 0 or rest:
            part, rest = rest[: 65536 + 40], rest[65536 + 40 :]
            places = (header, index.to_bytes(8, "big"), bytes([not rest]))
            aad = self.labels["AadBackup"] + b"".join(len(place).to_bytes(4, "big") + place for place in places)
            plaintext = p.open_with_nonce(key, aad, part)
            demand(plaintext, "open", "empty chunk")
            out, index = out + plaintext, index + 1
        return {"plaintext": out.hex()}

    def op_attachment_length(self, i):
        length = i.number("length")
        demand(padme(length) is not None, "decode", "too long")
        return {"padded": number(padme(length)), "ciphertext": number(sealed_length(length))}

    def op_chunk_open(self, i):
        key = hkdf(i.bytes("key"), self.labels["KdfAttachment"])
        nonce = i.bytes("nonce_prefix") + i["index"].to_bytes(4, "big") + bytes([i["final"]])
        aad = i.bytes("blob") + i.number("ciphertext_length").to_bytes(8, "big")
        return {"plaintext": p.aead_open(key, nonce, aad, i.bytes("chunk")).hex()}

    # -- plaintexts, envelopes, frames: transport.py; messages: messages.py

    def body(self, data):
        """A core or a control body, whichever its kind asks for."""
        item = cbor.parse(data)
        kind = item.get(3) if isinstance(item, dict) else None
        demand(type(kind) is int and kind in self.spec.kinds, "decode", "no kind")
        name = "Core" if self.spec.kinds[kind]["object"] == "Core" else "ControlBody"
        return name, self.documents.decode(name, data)

    # -- rosters

    def op_log(self, i):
        return Roster(self.documents, i.list("commits")).shown()

    def op_equivocation(self, i):
        a, b = (Signed(self.documents, data) for data in i.list("commits"))
        return {"fork": is_fork(a, b)}

    def op_cut_off(self, i):
        lower = i["incarnation"] < i["cut_incarnation"]
        same = i["incarnation"] == i["cut_incarnation"] and i["session"] == i["cut_session"]
        return {"admits": lower or same and i["n"] <= i["cut_n"]}


class Inputs(dict):
    def bytes(self, name):
        return unhex(self[name])

    def list(self, name):
        return [unhex(each) for each in self[name]]

    def number(self, name):
        return int(self[name])


__all__ = ["Operations", "Refused", "unhex"]
