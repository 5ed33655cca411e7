import com.fasterxml.jackson.databind.JsonNode;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** semantics 3.1 and the version traps: what is closed, what is answered, and in which order. */
final class FramingCases {
    /** The APIs that are served; a change that serves another adds it. */
    private static final String SERVED = "0 1 2 3 8 9 10 11 12 13 14 15 16 18 19 20 21 22 23 32 33 34 35 37 42 43 44 45 46 47 55 57 60 61 64 74 75 80 81";

    private FramingCases() {
    }

    private static ByteBuffer header(int api, int version, int correlation, byte[] rest) {
        ByteBuffer out = ByteBuffer.allocate(10 + rest.length);
        out.putShort((short) api).putShort((short) version).putInt(correlation).putShort((short) -1).put(rest);
        return out.flip();
    }

    private static ParityProbe.Case bytes(byte[] bytes) {
        return (f, w) -> {
            w.sendBytes(bytes);
            return "answered " + w.receiveFrame().remaining() + " bytes";
        };
    }

    private static ParityProbe.Case frame(int api, int version, byte[] rest) {
        return (f, w) -> {
            w.sendFrame(header(api, version, 7, rest));
            return "answered " + w.receiveFrame().remaining() + " bytes";
        };
    }

    static void add(Map<String, ParityProbe.Case> c) {
        c.put("3.1.1 negative frame size", bytes(ByteBuffer.allocate(4).putInt(-1).array()));
        c.put("3.1.1 frame size above socket.request.max.bytes", bytes(ByteBuffer.allocate(4).putInt(104_857_601).array()));
        c.put("3.1.1 empty frame", bytes(ByteBuffer.allocate(4).putInt(0).array()));
        c.put("3.1.1 frame of four bytes", bytes(ByteBuffer.allocate(8).putInt(4).putInt(0).array()));
        c.put("3.1.1 an HTTP request", bytes("GET / HTTP/1.1\r\n\r\n".getBytes()));
        c.put("3.1.2 unknown api key", frame(999, 0, new byte[4]));
        c.put("3.1.2 negative api key", frame(-1, 0, new byte[4]));
        c.put("3.1.2 Metadata version 99", frame(3, 99, new byte[4]));
        c.put("3.1.2 Fetch version 3, below the range", frame(1, 3, new byte[30]));
        c.put("3.1.2 a body that does not parse", frame(3, 1, new byte[] {127, -1, -1, -1, 1, 2, 3}));
        c.put("3.1.2 a truncated body", frame(8, 5, new byte[] {0, 5, 'g'}));
        c.put("3.1.3 acks=0 is not answered", (f, w) -> {
            String topic = f.topic();
            w.send("Produce", 9, Fixture.produceBody(topic, 0, Batch.text(Batch.plain(1))));
            w.call("ApiVersions", 0, "{}"); // parses only when it is this request's answer
            return w.call("ListOffsets", 7, Fixture.listBody(topic, -1));
        });
        c.put("3.1.3 acks=0 with an error closes", (f, w) -> {
            w.send("Produce", 9, Fixture.produceBody(f.topic(), 0, Batch.broken(Batch.plain(1), b -> b.putInt(Batch.CRC, 1))));
            return w.call("ApiVersions", 0, "{}");
        });
        c.put("3.1.3 pipelined requests are answered in order", (f, w) -> {
            String topic = f.filled(1);
            List<Wire.Sent> sent = new ArrayList<>();
            sent.add(w.send("Fetch", 11, Fixture.fetchBody(topic, 1).replace("maxWaitMs:0,minBytes:0", "maxWaitMs:300,minBytes:1")));
            for (int i = 0; i < 20; i++) {
                sent.add(w.send("ListOffsets", 7, Fixture.listBody(topic, -1)));
                sent.add(w.send("ApiVersions", 0, "{}"));
            }
            int answered = 0;
            for (Wire.Sent one : sent) {
                w.receive(one); // a correlation id out of order does not parse
                answered++;
            }
            return answered + " in order";
        });
        c.put("ApiVersions version 99 gets a v0 body", (f, w) -> {
            w.sendFrame(header(18, 99, 7, new byte[] {0, 0, 0, 0}));
            ByteBuffer answer = w.receiveFrame();
            String head = "correlation " + answer.getInt() + " error " + answer.getShort();
            for (int n = answer.getInt(); n > 0; n--) {
                int key = answer.getShort();
                String range = answer.getShort() + "-" + answer.getShort();
                head += key == 18 ? " ApiVersions " + range : "";
            }
            return head + " left " + answer.remaining();
        });
        c.put("ApiVersions with a bad client name", (f, w) -> w.call("ApiVersions", 3, "{clientSoftwareName:'a b!',clientSoftwareVersion:'1'}"));
        c.put("ApiVersions advertises Produce from 0", (f, w) -> {
            for (JsonNode api : w.call("ApiVersions", 3, "{clientSoftwareName:'p',clientSoftwareVersion:'1'}").get("apiKeys")) {
                if (api.get("apiKey").intValue() == 0) {
                    return api;
                }
            }
            return "Produce is not advertised";
        });
        for (String key : SERVED.split(" ")) {
            c.put("version range of api " + key, (f, w) -> {
                for (JsonNode entry : w.call("ApiVersions", 3, "{clientSoftwareName:'p',clientSoftwareVersion:'1'}").get("apiKeys")) {
                    if (entry.get("apiKey").asText().equals(key)) {
                        return entry;
                    }
                }
                return "not advertised";
            });
        }
    }
}
