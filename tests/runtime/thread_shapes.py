"""Cells that use threads in the ways people do. Most call `service`, which answers at any time."""

from __future__ import annotations

__all__ = ["ACTING", "SHAPES", "WAITING"]

# What order their results have depends on timing alone.
SHAPES = {
    "shared list": """
from concurrent.futures import ThreadPoolExecutor
found = []
def work(n):
    found.append(service.ask(f"a{n}"))
    found.append(service.ask(f"b{n}"))
with ThreadPoolExecutor(4) as pool:
    list(pool.map(work, range(6)))
print(found)
""",
    "as_completed": """
from concurrent.futures import ThreadPoolExecutor, as_completed
found = []
with ThreadPoolExecutor(4) as pool:
    futures = [pool.submit(service.ask, f"p{n}") for n in range(8)]
    for future in as_completed(futures):
        found.append(future.result())
    for future in as_completed(futures):
        found.append(future.result())
print(found)
""",
    "queue": """
import queue, threading
todo, found = queue.Queue(3), []
def produce(k):
    for n in range(3):
        todo.put(service.ask(f"m{k}{n}"))
def consume(k):
    while (item := todo.get()) is not None:
        found.append((k, service.ask(item)))
        todo.task_done()
    todo.task_done()
makers = [threading.Thread(target=produce, args=(k,)) for k in range(2)]
takers = [threading.Thread(target=consume, args=(k,)) for k in range(3)]
for thread in makers + takers:
    thread.start()
for thread in makers:
    thread.join()
for _ in takers:
    todo.put(None)
todo.join()
for thread in takers:
    thread.join()
print(found)
""",
    "wait for the first": """
from concurrent.futures import ThreadPoolExecutor, wait, FIRST_COMPLETED
found = []
with ThreadPoolExecutor(4) as pool:
    left = {pool.submit(service.ask, f"p{n}") for n in range(8)}
    while left:
        done, left = wait(left, return_when=FIRST_COMPLETED)
        found.append([each.result() for each in done])
print(found)
""",
    "locks": """
import threading
lock, again, two, found = threading.Lock(), threading.RLock(), threading.Semaphore(2), []
def work(k):
    for n in range(2):
        with lock:
            found.append(service.ask(f"l{k}{n}"))
        with again, again:
            found.append((k, n))
        with two:
            found.append(service.ask(f"s{k}{n}"))
threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
print(found)
""",
    "condition": """
import threading
from collections import deque
changed, items, found = threading.Condition(), deque(), []
def produce(k):
    for n in range(3):
        item = service.ask(f"p{k}{n}")
        with changed:
            items.append(item)
            changed.notify()
def consume(k):
    for n in range(3):
        with changed:
            changed.wait_for(lambda: items)
            found.append((k, items.popleft()))
threads = [threading.Thread(target=f, args=(k,)) for k in range(2) for f in (produce, consume)]
[t.start() for t in threads]; [t.join() for t in threads]
print(found)
""",
    "barrier": """
import threading
meeting, found = threading.Barrier(3), []
def work(k):
    for n in range(2):
        service.ask(f"p{k}{n}")
        found.append((k, n, meeting.wait()))
threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
[t.start() for t in threads]; [t.join() for t in threads]
print(found)
""",
    "simple queue": """
import queue, threading
things, found = queue.SimpleQueue(), []
def produce(k):
    for n in range(3):
        things.put(service.ask(f"m{k}{n}"))
threads = [threading.Thread(target=produce, args=(k,)) for k in range(3)]
[t.start() for t in threads]
for _ in range(9):
    found.append(things.get())
[t.join() for t in threads]
print(found, things.empty())
""",
    "initializer": """
from concurrent.futures import ThreadPoolExecutor
import random
found = []
def begin(name):
    found.append(service.ask(name))
def work(n):
    found.append((service.ask(f"p{n}"), random.random()))
with ThreadPoolExecutor(3, initializer=begin, initargs=("hello",)) as pool:
    list(pool.map(work, range(6)))
print(found, random.random())
""",
    "callbacks": """
from concurrent.futures import ThreadPoolExecutor
found = []
def done(future):
    found.append(service.ask("after " + future.result()))
with ThreadPoolExecutor(3) as pool:
    for n in range(6):
        pool.submit(service.ask, f"p{n}").add_done_callback(done)
print(found)
""",
    "pools in a pool": """
from concurrent.futures import ThreadPoolExecutor
found = []
def inner(name):
    found.append(name)
    return service.ask(name)
def work(n):
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(inner, [f"i{n}.{k}" for k in range(3)]))
with ThreadPoolExecutor(3) as pool:
    print(list(pool.map(work, range(3))))
print(found)
""",
    "thread pool": """
from multiprocessing.pool import ThreadPool
with ThreadPool(3) as pool:
    found = pool.map(service.ask, [f"p{n}" for n in range(6)])
    found += pool.starmap(lambda a, b: service.ask(a + b), [("x", "y"), ("z", "w")])
    found.append(pool.apply(service.ask, ("one",)))
    found.append(list(pool.imap(service.ask, ["i1", "i2"])))
print(found)
""",
    "imap_unordered": """
from multiprocessing.pool import ThreadPool
found, told = [], []
with ThreadPool(3) as pool:
    for each in pool.imap_unordered(service.ask, [f"p{n}" for n in range(6)]):
        found.append(each)
    results = [pool.apply_async(service.ask, (f"c{n}",), callback=told.append) for n in range(4)]
    [each.wait() for each in results]
print(found, told)
""",
    "joblib": """
from joblib import Parallel, delayed
found = []
def work(n):
    found.append(service.ask(f"p{n}"))
    return n
print(Parallel(n_jobs=3, backend="threading")(delayed(work)(n) for n in range(6)), found)
""",
    "computing": """
from concurrent.futures import ThreadPoolExecutor, as_completed
import threading
found, lock, order = [], threading.Lock(), []
def work(n):
    total = 0
    for i in range(2):
        for k in range(60_000 + n * 9_000):
            total += k
        with lock:
            order.append((n, i))
    return n
with ThreadPoolExecutor(3) as pool:
    for future in as_completed([pool.submit(work, n) for n in range(5)]):
        found.append(future.result())
    service.ask("x")
print(found, order)
""",
}

# What depends on how long something took.
WAITING = {
    "event that is polled": """
import threading, time
done, found = threading.Event(), []
def work():
    for n in range(3):
        found.append(service.ask(f"p{n}"))
    done.set()
thread = threading.Thread(target=work); thread.start()
polls = 0
while not done.is_set():
    time.sleep(0.001)
    polls += 1
thread.join()
print(polls, found)
""",
    "event that is spun on": """
import threading
done, found = threading.Event(), []
def work():
    for n in range(3):
        found.append(service.ask(f"p{n}"))
    done.set()
thread = threading.Thread(target=work); thread.start()
while not done.is_set():
    pass
thread.join()
print(found)
""",
    "work until told to stop": """
import threading, time
stop, found = threading.Event(), []
def work():
    while not stop.is_set():
        found.append(sum(range(2_000)))
thread = threading.Thread(target=work); thread.start()
time.sleep(0.01); service.ask("a")
stop.set(); thread.join()
print(len(found))
""",
    "thread that is asked whether it lives": """
import threading, time
polls, found = 0, []
thread = threading.Thread(target=lambda: found.append(service.ask("a"))); thread.start()
while thread.is_alive():
    time.sleep(0.0005); polls += 1
print(polls, found)
""",
    "timers": """
import threading
found = []
timers = [
    threading.Timer(0.004 - 0.001 * n, lambda n=n: found.append(service.ask(f"p{n}")))
    for n in range(4)
]
[t.start() for t in timers]; [t.join() for t in timers]
print(found)
""",
    "sleeps": """
import threading, time
found = []
def work(k):
    for n in range(3):
        time.sleep(0.001 * (k + 1))
        found.append((k, n))
threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
print(found)
""",
    "time-outs": """
import queue, threading, time
event, things, found = threading.Event(), queue.Queue(), []
def work():
    found.append(event.wait(0.002))
    try:
        things.get(timeout=0.003)
    except queue.Empty:
        found.append("empty")
    found.append(service.ask("a"))
    found.append(event.wait(60))
    found.append(things.get(timeout=60))
    found.append(threading.Semaphore(0).acquire(timeout=0.002))
    lock = threading.Lock(); lock.acquire()
    found.append(lock.acquire(timeout=0.002)); found.append(lock.acquire(False))
thread = threading.Thread(target=work); thread.start()
service.ask("m1"); thread.join(0.002); found.append(thread.is_alive()); service.ask("m2")
time.sleep(0.02)
event.set(); things.put(3)
thread.join()
print(found)
""",
    "time-outs of a pool": """
from concurrent.futures import *
found = []
with ThreadPoolExecutor(2) as pool:
    try:
        for result in pool.map(service.ask, [f"p{n}" for n in range(6)], timeout=0.004):
            found.append(result)
    except TimeoutError:
        found.append("too late")
    try:
        found.append(pool.submit(service.ask, "late").result(timeout=0.0005))
    except TimeoutError:
        found.append("too late")
print(found)
""",
    "cancelling": """
from concurrent.futures import *
found = []
pool = ThreadPoolExecutor(2)
futures = [pool.submit(service.ask, f"p{n}") for n in range(8)]
found.append(futures[0].result())
found.append([each.cancel() for each in futures[5:]])
found.append([(each.done(), each.running()) for each in futures])
pool.shutdown(cancel_futures=True)
found.append([each.cancelled() for each in futures])
print(found)
""",
}

# What is killed in its middle and goes on: few requests, all order visible.
ACTING = {
    "threads and a lock": """
import threading
lock, found = threading.Lock(), []
def work(k):
    with lock:
        found.append(service.ask(f"t{k}"))
    found.append(service.ask(f"u{k}"))
threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
[t.start() for t in threads]
with lock:
    found.append(service.ask("main"))
[t.join() for t in threads]
print(sorted(found))
""",
    "pool": """
from concurrent.futures import ThreadPoolExecutor, as_completed
found = []
with ThreadPoolExecutor(2) as pool:
    for future in as_completed([pool.submit(service.ask, f"p{n}") for n in range(4)]):
        found.append(service.ask("after " + future.result()))
print(sorted(found))
""",
    "queue": """
import queue, threading
todo, found = queue.Queue(1), []
def consume():
    while (item := todo.get()) is not None:
        found.append(service.ask(f"did {item}"))
thread = threading.Thread(target=consume); thread.start()
for n in range(3):
    todo.put(service.ask(f"m{n}"))
todo.put(None); thread.join()
print(sorted(found))
""",
    "thread pool": """
from multiprocessing.pool import ThreadPool
with ThreadPool(2) as pool:
    found = sorted(pool.imap_unordered(service.ask, [f"p{n}" for n in range(4)]))
print(found, service.ask("end"))
""",
}
