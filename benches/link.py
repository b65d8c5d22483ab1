"""A link that is slow: passes TCP connections on to a service, all of them together no faster than so many bytes a second each
way, and each byte half a round trip late. link.py SERVICE_PORT ROUND_TRIP_MS MBIT prints the port where it listens. After SIGUSR1
it prints how many bytes passed up and down since it was asked last."""

import asyncio
import signal
import sys

PIECE = 16 << 10
# Of each connection, what is on its way at once: more than what a round trip lets pass.
WINDOW = 64


class Way:
    """One direction of the link, shared by all connections."""

    def __init__(self, rate, delay):
        self.rate, self.delay, self.free, self.passed = rate, delay, 0.0, 0

    async def carry(self, reader, writer):
        clock = asyncio.get_running_loop()
        late = asyncio.Queue(WINDOW)

        async def arrive():
            while True:
                due, piece = await late.get()
                await asyncio.sleep(due - clock.time())
                if not piece:
                    break
                writer.write(piece)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()

        arrival = asyncio.create_task(arrive())
        try:
            piece = b"."
            while piece and not arrival.done():
                piece = await reader.read(PIECE)
                self.passed += len(piece)
                self.free = max(self.free, clock.time()) + len(piece) / self.rate
                await late.put((self.free + self.delay, piece))
                # Whoever sends waits for the link, not for its queue.
                await asyncio.sleep(self.free - clock.time())
            await arrival
        except OSError:
            arrival.cancel()


async def main(port, round_trip, mbit):
    up, down = (Way(mbit * 125_000, round_trip / 2000) for _ in range(2))

    async def connected(reader, writer):
        # What TCP needs to say hello.
        await asyncio.sleep(round_trip / 1000)
        there, to_there = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(up.carry(reader, to_there), down.carry(there, writer), return_exceptions=True)
        for end in (writer, to_there):
            end.close()

    def tell():
        print(up.passed, down.passed, flush=True)
        up.passed = down.passed = 0

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tell)
    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
