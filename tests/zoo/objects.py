"""Makes and drops Python objects of all sizes on threads, cycles too; what is left at the end is counted."""
import gc
import hashlib
import sys
import threading
import time
import zlib

END = time.monotonic() + float(sys.argv[1])
wrong = []


class Node:
    def __init__(self, number):
        self.number, self.text, self.other = number, "x" * (number % 997), None


def work(seed):
    while time.monotonic() < END:
        nodes = [Node(i) for i in range(seed, seed + 3000)]
        for one, other in zip(nodes, reversed(nodes)):
            one.other = other  # rings
        table = {node.number: [node, bytearray(node.number % 4096)] for node in nodes}
        packed = zlib.compress(repr(sorted(table)).encode() * 3)
        if hashlib.sha256(zlib.decompress(packed)).digest() != hashlib.sha256(repr(sorted(table)).encode() * 3).digest():
            wrong.append(seed)
        if any(len(node.other.text) != node.other.number % 997 for node in nodes):
            wrong.append(seed)


threads = [threading.Thread(target=work, args=(i * 1000,)) for i in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
gc.collect()
print("wrong", wrong, "left", sum(isinstance(each, Node) for each in gc.get_objects()))
