"""Threads and asyncio under load until standard input ends; counts what was lost, which must be nothing."""
import asyncio
import queue
import sys
import threading
import time

ended = threading.Event()


def await_end_of_input():
    sys.stdin.read()
    ended.set()


def produce(items, done):
    count = 0
    while not ended.is_set():
        items.put({"number": count, "text": "x" * (count % 500)})
        count += 1
        if count % 100 == 0:
            time.sleep(0.001)
    done.append(count)


def consume(items, counts):
    count = 0
    while (item := items.get()) is not None:
        assert len(item["text"]) == item["number"] % 500
        count += 1
    counts.append(count)


def with_threads():
    items, produced, consumed = queue.Queue(100), [], []
    producers = [threading.Thread(target=produce, args=(items, produced)) for _ in range(4)]
    consumers = [threading.Thread(target=consume, args=(items, consumed)) for _ in range(4)]
    for thread in producers + consumers:
        thread.start()
    for thread in producers:
        thread.join()
    for _ in consumers:
        items.put(None)
    for thread in consumers:
        thread.join()
    return sum(produced) - sum(consumed), sum(produced)


async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def ask(port, lost):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    count = 0
    while not ended.is_set():
        text = b"%d\n" % count
        writer.write(text)
        if await asyncio.wait_for(reader.readline(), 30) != text:
            lost.append(count)
        count += 1
    writer.close()
    return count


async def with_asyncio():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port, lost = server.sockets[0].getsockname()[1], []
    counts = await asyncio.gather(*(ask(port, lost) for _ in range(8)))
    server.close()
    return len(lost), sum(counts)


results = []
threading.Thread(target=await_end_of_input).start()
other = threading.Thread(target=lambda: results.append(with_threads()))
other.start()
results.append(asyncio.run(with_asyncio()))
other.join()
for lost, count in results:
    assert count > 100, count
    print("lost", lost)
