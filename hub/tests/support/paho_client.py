"""Drives paho-mqtt against a gate: python3 paho_client.py PORT SCENARIO. Prints what was seen; exits 1 with a reason when it is wrong."""

import socket
import sys
import threading
import time

import paho.mqtt.client as mqtt

PORT = int(sys.argv[1])


class Client:
    """A paho client whose events are collected."""

    def __init__(self, client_id, keepalive=60, protocol=mqtt.MQTTv311, will=None, clean=True):
        extra = {} if protocol == mqtt.MQTTv5 else {"clean_session": clean}
        self.paho = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol, **extra)
        self.paho.reconnect_delay_set(min_delay=60)
        self.messages, self.events, self.changed = [], {}, threading.Condition()
        self.paho.on_connect = lambda c, u, f, reason, p: self.note("connack", str(reason))
        self.paho.on_disconnect = lambda c, u, f, reason, p: self.note("disconnect", str(reason))
        self.paho.on_subscribe = lambda c, u, mid, reasons, p: self.note("suback", [str(r) for r in reasons])
        self.paho.on_publish = lambda c, u, mid, reason, p: self.note("puback", mid)
        self.paho.on_message = self.message
        if will:
            self.paho.will_set(*will, qos=1)
        self.paho.connect("127.0.0.1", PORT, keepalive)
        self.paho.loop_start()
        self.answer = self.wait("connack")

    def note(self, what, value):
        with self.changed:
            self.events[what] = value
            self.changed.notify_all()

    def message(self, client, userdata, message):
        with self.changed:
            self.messages.append((message.topic, bytes(message.payload), message.qos, message.retain))
            self.changed.notify_all()

    def wait(self, what, seconds=10):
        with self.changed:
            if not self.changed.wait_for(lambda: what in self.events, seconds):
                raise SystemExit(f"no {what} within {seconds} s; saw {self.events}")
            return self.events.pop(what)

    def wait_messages(self, count, seconds=10):
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.messages) >= count, seconds):
                raise SystemExit(f"{len(self.messages)} of {count} messages within {seconds} s")
            return list(self.messages)

    def subscribe(self, topic, qos=0):
        self.paho.subscribe(topic, qos)
        return self.wait("suback")

    def close(self):
        self.paho.disconnect()
        self.paho.loop_stop()


def check(condition, what):
    if not condition:
        raise SystemExit(f"wrong: {what}")
    print(f"ok: {what}")


def publish_subscribe():
    subscriber, publisher = Client("paho-sub"), Client("paho-pub")
    check(subscriber.answer == "Success", "CONNACK")
    for qos in (0, 1, 2):
        check(subscriber.subscribe(f"test/paho/{qos}/+", qos) == [f"Granted QoS {qos}"], f"SUBACK grants QoS {qos}")
        for n in range(200):
            publisher.paho.publish(f"test/paho/{qos}/x", str(n), qos, retain=True).wait_for_publish(10)
        got = subscriber.wait_messages(200)
        check([int(m[1]) for m in got] == list(range(200)), f"200 messages in order with QoS {qos}")
        check(all(m[2] == qos and not m[3] for m in got), f"QoS {qos} and no retain flag")
        subscriber.messages.clear()
    late = Client("paho-late")
    late.subscribe("test/paho/#", 1)
    time.sleep(0.5)
    check(late.messages == [], "nothing is retained")


def will():
    observer = Client("paho-observer")
    observer.subscribe("test/will", 0)
    polite = Client("paho-polite", will=("test/will", "polite"))
    polite.close()
    rude = Client("paho-rude", will=("test/will", "rude"))
    rude.paho.socket().shutdown(socket.SHUT_RDWR)
    check(observer.wait_messages(1)[0][1] == b"rude", "the will of a lost client arrives")
    time.sleep(0.5)
    check(len(observer.messages) == 1, "the will of a client that said goodbye does not")


def take_over():
    observer = Client("paho-observer")
    observer.subscribe("test/#", 0)
    first = Client("paho-same")
    first.subscribe("test/same", 0)
    second = Client("paho-same")
    check(second.answer == "Success", "the second connection of one id is taken")
    first.wait("disconnect")
    check(True, "the first is closed")
    second.subscribe("test/same", 0)
    second.paho.publish("test/same", "alive", 1).wait_for_publish(10)
    check(second.wait_messages(1)[0][1] == b"alive", "the second lives on")
    for n in range(20):
        Client("paho-same")
    last = Client("paho-same")
    last.paho.publish("test/last", "still here", 1).wait_for_publish(10)
    observer.wait_messages(2)
    check(observer.messages[-1][1] == b"still here", "twenty more take-overs hurt nobody")


def keepalive():
    began = time.monotonic()
    client = Client("paho-mute", keepalive=2)
    # CONNECT is the last that it says: the loop, which pings, has ended before the first ping is due.
    client.paho.loop_stop()
    sock = client.paho.socket()
    sock.setblocking(True)
    sock.settimeout(8)
    while sock.recv(100):
        pass
    took = time.monotonic() - began
    check(2.8 < took < 4, f"closed {took:.2f} s into silence with keepalive 2")
    patient = Client("paho-patient", keepalive=1)
    time.sleep(4)
    check("disconnect" not in patient.events, "a client that pings stays")


def oversized():
    client, observer = Client("paho-large"), Client("paho-observer")
    observer.subscribe("test/large", 0)
    client.paho.publish("test/large", b"x" * 64 * 1024, 1).wait_for_publish(10)
    check(len(observer.wait_messages(1)[0][1]) == 64 * 1024, "64 KiB pass")
    client.paho.publish("test/large", b"x" * 100_000, 1)
    client.wait("disconnect")
    check(True, "100,000 bytes close the connection")
    observer.paho.publish("test/large", b"after", 1).wait_for_publish(10)
    check(observer.wait_messages(2)[1][1] == b"after", "and hurt nobody else")


def version_5():
    client = Client("paho-five", protocol=mqtt.MQTTv5)
    check("nsupported protocol version" in client.answer, f"MQTT 5 is refused: {client.answer}")


def agent():
    client = Client("aaaaaaaa", will=("cn1/aaaaaaaa/u/m", "gone"))
    check(client.subscribe("cn1/aaaaaaaa/d/#", 1) == ["Granted QoS 0"], "an agent subscribes to its downlink")
    client.paho.publish("cn1/aaaaaaaa/u/m", "up", 1).wait_for_publish(10)
    check(client.wait_messages(1)[0][:2] == ("cn1/aaaaaaaa/d/m", b"down"), "and hears the hub")
    client.paho.socket().shutdown(socket.SHUT_RDWR)


globals()[sys.argv[2]]()
