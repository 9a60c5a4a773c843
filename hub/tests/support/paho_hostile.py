"""A paho-mqtt client with an agent's certificate tries what it may not: python3 paho_hostile.py PORT CA CERTIFICATE KEY. Prints each refusal."""

import ssl
import sys
import threading

import paho.mqtt.client as mqtt

PORT, CA, CERTIFICATE, KEY = int(sys.argv[1]), *sys.argv[2:5]
OWN, OTHER = "aaaaaaaa", "bbbbbbbb"


class Client:
    """A client with the certificate of OWN; it never connects again by itself."""

    def __init__(self, client_id, will=None, protocol=mqtt.MQTTv311):
        self.paho = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol)
        self.paho.tls_set(CA, CERTIFICATE, KEY, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self.paho.reconnect_delay_set(min_delay=60)
        self.answered, self.closed, self.granted = threading.Event(), threading.Event(), threading.Event()
        self.answer, self.messages = None, []
        self.paho.on_connect = self.connected
        self.paho.on_disconnect = lambda c, u, f, reason, p: self.closed.set()
        self.paho.on_subscribe = lambda c, u, mid, reasons, p: self.granted.set()
        self.paho.on_message = lambda c, u, message: self.messages.append(message.topic)
        if will:
            self.paho.will_set(*will, qos=1)
        self.paho.connect("127.0.0.1", PORT, 60)
        self.paho.loop_start()

    def connected(self, client, userdata, flags, reason, properties):
        self.answer = str(reason)
        self.answered.set()

    def refused(self):
        """Whether CONNACK was a refusal, or the connection was closed instead."""
        self.answered.wait(10)
        return self.answer != "Success"

    def stop(self):
        self.paho.loop_stop()
        self.paho.disconnect()


def connect():
    client = Client(OWN)
    if client.refused():
        raise SystemExit(f"wrong: the agent itself is refused: {client.answer}")
    return client


def main():
    count = 0
    attempts = [("subscribe", f) for f in ("#", "+/+/#", "cn1/#", "cn1/+/d/#", f"cn1/{OTHER}/d/#", f"cn1/{OTHER}/u/m", f"cn1/{OWN}/u/#",
                                           "cn1/f/#", "cn1/f/+", f"$share/g/cn1/{OWN}/d/#", "$share/g/#", "$SYS/#", "test/#")]
    attempts += [("publish", t) for t in (f"cn1/{OTHER}/u/m", f"cn1/{OTHER}/d/m", f"cn1/{OTHER}/d/s/1", f"cn1/{OWN}/d/m", "cn1/f/0", "test/x", "$SYS/x")]
    for what, topic in attempts:
        client = connect()
        if what == "subscribe":
            client.paho.subscribe(topic, 1)
        else:
            client.paho.publish(topic, b"x", 1, retain=True)
        if not client.closed.wait(10) or client.granted.is_set() or client.messages:
            raise SystemExit(f"wrong: {what} {topic} was not refused")
        client.stop()
        count += 1
        print(f"refused: {what} {topic}")
    for what, arguments in (("client id of another", {"client_id": OTHER}), ("client id of nobody", {"client_id": "observer"}),
                            ("will for another", {"client_id": OWN, "will": (f"cn1/{OTHER}/u/m", "x")}),
                            ("will down", {"client_id": OWN, "will": (f"cn1/{OWN}/d/m", "x")}),
                            ("MQTT 5", {"client_id": OWN, "protocol": mqtt.MQTTv5})):
        client = Client(**arguments)
        if not client.refused():
            raise SystemExit(f"wrong: {what} was let in")
        client.stop()
        count += 1
        print(f"refused: {what} ({client.answer})")
    client = connect()
    client.paho.subscribe(f"cn1/{OWN}/d/#", 1)
    if not client.granted.wait(10):
        raise SystemExit("wrong: its own downlink was refused")
    client.paho.publish(f"cn1/{OWN}/u/m", b"mine", 1).wait_for_publish(10)
    client.stop()
    print(f"{count} attempts refused, its own topics work")


main()
