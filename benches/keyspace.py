"""Makes the data of compare.sh and limits.sh, the same at every run: commands for `redis-cli --pipe`, or opaque files."""

import json
import os
import random
import sys

NAMES = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"]


def command(*arguments):
    parts = [argument if isinstance(argument, bytes) else str(argument).encode() for argument in arguments]
    body = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
    sys.stdout.buffer.write(b"*%d\r\n%s" % (len(parts), body))


def session(rng, number):
    value = {
        "id": number,
        "user": rng.choice(NAMES) + str(rng.randrange(100_000)),
        "email": f"u{rng.randrange(10**7)}@example.com",
        "token": f"{rng.getrandbits(128):032x}",
        "score": rng.random(),
        "tags": rng.sample(NAMES, 3),
        "created": 1_700_000_000 + rng.randrange(10**7),
    }
    if number % 3:
        command("SET", f"user:{number}", json.dumps(value))
    else:
        command("SET", f"session:{number}", json.dumps(value), "EXAT", 1_900_000_000 + rng.randrange(10**6))


def profile(rng, number):
    fields = [part for f in range(rng.randrange(3, 12)) for part in (f"field{f}", f"{rng.getrandbits(64):016x}")]
    command("HSET", f"profile:{number}", *fields)


def queue(rng, number):
    jobs = [f"job-{rng.randrange(10**9)}-{rng.choice(NAMES)}" for _ in range(rng.randrange(2, 20))]
    command("RPUSH", f"queue:{number}", *jobs)


def board(rng, number):
    count = rng.randrange(2, 20)
    pairs = [part for _ in range(count) for part in (rng.random() * 1000, f"member{rng.randrange(10**6)}")]
    command("ZADD", f"board:{number}", *pairs)


def journal(rng, number):
    """Entries go behind those that are there: their ids are the milliseconds of a clock that only runs on."""
    global clock
    for _ in range(rng.randrange(2, 40)):
        clock += rng.randrange(1, 2_000)
        fields = ("user", f"u{rng.randrange(10**5)}", "action", rng.choice(["view", "buy", "login"]), "ms", rng.randrange(900))
        command("XADD", f"journal:{number}", f"{clock}-0", *fields)


SESSIONS = 430_000
KINDS = [(session, SESSIONS), (profile, 100_000), (queue, 80_000), (board, 70_000), (journal, 20_000)]


def fill():
    global clock
    rng, clock = random.Random(7), 1_700_000_000_000
    for make, count in KINDS:
        for number in range(count):
            make(rng, number)


def change(day=1, percent=1):
    """A day: so much of the keys updated at random, half a percent new, and a fifth of one deleted."""
    global clock
    rng, clock = random.Random(7 + day), 1_700_000_000_000 + day * 10**11
    for make, count in KINDS:
        first = count + (day - 1) * (count // 200)
        for number in rng.sample(range(first), count * percent // 100):
            make(rng, number)
        for number in range(first, first + count // 200):
            make(rng, number)
    for number in rng.sample(range(SESSIONS), 1_400):
        command("DEL", f"user:{number}", f"session:{number}")


def grow():
    """One percent of new keys, their names behind one another."""
    global clock
    rng, clock = random.Random(6), 1_790_000_000_000
    for make, count in KINDS:
        for number in range(10 * count, 10 * count + count // 100):
            make(rng, number)


def token(rng, number):
    command("SET", f"token:{number:08}", f"{rng.getrandbits(64):016x}", "EXAT", 1_900_000_000 + rng.randrange(10**6))


def cart(rng, number):
    fields = [part for f in range(rng.randrange(1, 4)) for part in (f"item{f}", rng.randrange(10**6))]
    command("HSET", f"cart:{number}", *fields)


def plain(rng, number):
    command("SET", f"key:{number}", f"value:{number}:{rng.randrange(10**6)}")


def small(count):
    """Three tenths of so many small keys; the others, key:0 and so on, are made by DEBUG POPULATE."""
    rng = random.Random(3)
    for make, part in ((token, count // 5), (cart, count // 10)):
        for number in range(part):
            make(rng, number)


def small_change(count):
    """A day for all of these: one percent updated, a half new, a fifth deleted."""
    rng = random.Random(4)
    for make, part in ((token, count // 5), (cart, count // 10), (plain, count // 10 * 7)):
        for number in rng.sample(range(part), part // 100):
            make(rng, number)
        for number in range(part, part + part // 200):
            make(rng, number)
    for number in rng.sample(range(count // 10 * 7), count // 500):
        command("DEL", f"key:{number}")


def counter(rng, number):
    command("SET", f"counter:{number}", rng.randrange(10**6))


def element(rng, number):
    """Of forty collections of four types, 50,000 in each."""
    of, nth = divmod(number, 50_000)
    match of % 4:
        case 0:
            command("HSET", f"hash:{of}", f"field:{nth}", f"{rng.getrandbits(64):016x}" + "-" * (nth % 20))
        case 1:
            command("ZADD", f"zset:{of}", rng.random() * 1000, f"member:{nth}")
        case 2:
            command("SADD", f"set:{of}", f"element:{nth}:{rng.randrange(10**6)}")
        case _:
            command("RPUSH", f"list:{of}", f"item:{rng.randrange(10**9)}" + "-" * (nth % 50))


def document(rng, number):
    item = lambda: {"sku": f"{rng.randrange(10**6):06}", "name": " ".join(rng.choices(NAMES, k=6)), "price": rng.randrange(10**4) / 100}
    command("SET", f"document:{number}", json.dumps({"id": number, "items": [item() for _ in range(30)]}), "EXAT", 1_900_000_000)


def blob(rng, number):
    command("SET", f"blob:{number}", rng.randbytes(1000))


def login(rng, number):
    name = f"login:{random.Random(number).getrandbits(128):032x}"
    address = ".".join(str(rng.randrange(256)) for _ in range(4))
    command("HSET", name, "user", rng.randrange(10**6), "ip", address, "at", 1_790_000_000 + rng.randrange(10**6), "csrf", f"{rng.getrandbits(128):032x}")
    command("EXPIREAT", name, 1_900_000_000 + rng.randrange(10**4))


ALONE = {
    "counters": (counter, 2_500_000),
    "collections": (element, 2_000_000),
    "documents": (document, 60_000),
    "blobs": (blob, 150_000),
    "logins": (login, 600_000),
}


def alone(kind, day=1):
    """Keys of one kind, and on another day one in a hundred of them again."""
    make, count = ALONE[kind]
    rng = random.Random(f"{kind} {day}")
    for number in range(count) if day == 1 else sorted(rng.sample(range(count), count // 100)):
        make(rng, number)


def opaque(directory, mebibytes):
    rng = random.Random(9)
    words = [b"%08x" % rng.getrandbits(32) for _ in range(4_000)]
    for number in range(4):
        with open(os.path.join(directory, f"opaque{number}.bin"), "wb") as out:
            while out.tell() < mebibytes * (1 << 20) // 4:
                out.write(b" ".join(rng.choices(words, k=50_000)))
                out.write(rng.randbytes(450_000))


def scatter(source, target, percent):
    """The same files with so much of them overwritten in runs of 4 KiB."""
    rng = random.Random(10)
    for name in sorted(os.listdir(source)):
        with open(os.path.join(source, name), "rb") as file:
            content = bytearray(file.read())
        blocks = len(content) // 4096
        for block in rng.sample(range(blocks), blocks * percent // 100):
            content[block * 4096 : (block + 1) * 4096] = rng.randbytes(4096)
        with open(os.path.join(target, name), "wb") as out:
            out.write(content)


def aof(directory, megabytes):
    rng = random.Random(11)
    with open(os.path.join(directory, "appendonly.aof"), "wb") as out:
        while out.tell() < megabytes * 10**6:
            value = b"%032x" % rng.getrandbits(128)
            pairs = [(b"key:%d" % rng.randrange(10**7), value * rng.randrange(2, 12)) for _ in range(2_000)]
            parts = [b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(k), k, len(v), v) for k, v in pairs]
            out.write(b"".join(parts))


if __name__ == "__main__":
    {
        "fill": fill,
        "change": lambda: change(*(int(number) for number in sys.argv[2:])),
        "grow": grow,
        "small": lambda: small(int(sys.argv[2])),
        "small-change": lambda: small_change(int(sys.argv[2])),
        "alone": lambda: alone(sys.argv[2], int(sys.argv[3])),
        "opaque": lambda: opaque(sys.argv[2], int(sys.argv[3])),
        "scatter": lambda: scatter(sys.argv[2], sys.argv[3], int(sys.argv[4])),
        "aof": lambda: aof(sys.argv[2], int(sys.argv[3])),
    }[sys.argv[1]]()
