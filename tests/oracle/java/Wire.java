import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.lang.reflect.Method;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.record.internal.BaseRecords;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.requests.AbstractResponse;
import org.apache.kafka.common.requests.RequestHeader;
import org.apache.kafka.common.requests.RequestUtils;
import org.apache.kafka.network.RequestConvertToJson;

/**
 * One raw connection to a broker. Requests are Kafka's own message classes, filled from relaxed JSON
 * ({groupId: 'g', members: [{memberId: 'm'}]}; what is left out keeps its default), and serialized by
 * Kafka. Responses are parsed by Kafka, must leave no byte over, and come back as Kafka's JSON.
 */
final class Wire implements AutoCloseable {
    static final int TIMEOUT_MS = 15_000;
    static final ObjectMapper JSON = new ObjectMapper()
        .enable(JsonParser.Feature.ALLOW_UNQUOTED_FIELD_NAMES).enable(JsonParser.Feature.ALLOW_SINGLE_QUOTES);

    /** The broker closed the connection instead of answering. */
    static final class Closed extends IOException {
        Closed() {
            super("closed");
        }
    }

    /** What was sent and is still to be answered. */
    record Sent(ApiKeys api, short version, RequestHeader header) {
    }

    private final Socket socket = new Socket();
    private final DataInputStream in;
    private int correlation = 1;

    Wire(String bootstrap) throws IOException {
        int colon = bootstrap.lastIndexOf(':');
        socket.connect(new InetSocketAddress(bootstrap.substring(0, colon), Integer.parseInt(bootstrap.substring(colon + 1))), TIMEOUT_MS);
        socket.setSoTimeout(TIMEOUT_MS);
        socket.setTcpNoDelay(true);
        in = new DataInputStream(socket.getInputStream());
    }

    JsonNode call(String api, int version, String json) throws Exception {
        return receive(send(api, version, json));
    }

    Sent send(String api, int version, String json) throws Exception {
        ApiKeys key = key(api);
        RequestHeader header = new RequestHeader(key, (short) version, "probe", correlation++);
        ApiMessage message = message(key, json);
        sendFrame(RequestUtils.serialize(header.data(), header.headerVersion(), message, (short) version));
        return new Sent(key, (short) version, header);
    }

    JsonNode receive(Sent sent) throws Exception {
        return json(receiveResponse(sent), sent.version);
    }

    /** Parses with Kafka's classes; a byte left over is an error. */
    AbstractResponse receiveResponse(Sent sent) throws IOException {
        ByteBuffer frame = receiveFrame();
        AbstractResponse response = AbstractResponse.parseResponse(frame, sent.header);
        if (frame.hasRemaining()) {
            throw new IllegalStateException(sent.api + " v" + sent.version + ": " + frame.remaining() + " bytes left over");
        }
        return response;
    }

    static JsonNode json(AbstractResponse response, short version) {
        return RequestConvertToJson.response(response, version);
    }

    void sendFrame(ByteBuffer frame) throws IOException {
        ByteBuffer out = ByteBuffer.allocate(4 + frame.remaining()).putInt(frame.remaining()).put(frame);
        sendBytes(out.array());
    }

    void sendBytes(byte[] bytes) throws IOException {
        try {
            socket.getOutputStream().write(bytes);
        } catch (SocketException reset) {
            throw new Closed();
        }
    }

    ByteBuffer receiveFrame() throws IOException {
        try {
            int size = in.readInt();
            if (size < 4 || size > 200_000_000) {
                throw new IllegalStateException("response frame of " + size + " bytes");
            }
            byte[] body = new byte[size];
            in.readFully(body);
            return ByteBuffer.wrap(body);
        } catch (EOFException | SocketException gone) {
            throw new Closed();
        }
    }

    @Override
    public void close() throws IOException {
        socket.close();
    }

    static ApiKeys key(String api) {
        for (ApiKeys key : ApiKeys.values()) {
            if (key.name.equals(api)) {
                return key;
            }
        }
        throw new IllegalArgumentException("no API " + api);
    }

    static ApiMessage message(ApiKeys key, String json) throws Exception {
        ApiMessage message = ApiMessageType.fromApiKey(key.id).newRequest();
        fill(message, JSON.readTree(json));
        return message;
    }

    private static void fill(Object message, JsonNode node) throws Exception {
        for (Iterator<Map.Entry<String, JsonNode>> fields = node.fields(); fields.hasNext();) {
            Map.Entry<String, JsonNode> field = fields.next();
            String setter = "set" + Character.toUpperCase(field.getKey().charAt(0)) + field.getKey().substring(1);
            Method found = null;
            for (Method method : message.getClass().getMethods()) {
                if (method.getName().equals(setter) && method.getParameterCount() == 1) {
                    found = method;
                }
            }
            if (found == null) {
                throw new IllegalArgumentException(message.getClass().getSimpleName() + " has no " + field.getKey());
            }
            found.invoke(message, value(found.getGenericParameterTypes()[0], field.getValue()));
        }
    }

    private static Object value(Type type, JsonNode node) throws Exception {
        if (node.isNull()) {
            return null;
        } else if (type == boolean.class) {
            return node.booleanValue();
        } else if (type == byte.class || type == Byte.class) {
            return (byte) node.intValue();
        } else if (type == short.class) {
            return (short) node.intValue();
        } else if (type == int.class || type == Integer.class) {
            return node.intValue();
        } else if (type == long.class || type == Long.class) {
            return node.longValue();
        } else if (type == String.class) {
            return node.textValue();
        } else if (type == byte[].class) {
            return Base64.getDecoder().decode(node.textValue());
        } else if (type == Uuid.class) {
            return Uuid.fromString(node.textValue());
        } else if (type == BaseRecords.class) {
            return MemoryRecords.readableRecords(ByteBuffer.wrap(Base64.getDecoder().decode(node.textValue())));
        } else if (type instanceof ParameterizedType list && list.getRawType() == List.class) {
            return elements(new ArrayList<>(), list.getActualTypeArguments()[0], node);
        }
        Class<?> cls = (Class<?>) type;
        Object out = cls.getDeclaredConstructor().newInstance();
        if (out instanceof Collection<?> collection) { // Kafka's keyed collections
            Type element = ((ParameterizedType) cls.getGenericSuperclass()).getActualTypeArguments()[0];
            return elements(collection, element, node);
        }
        fill(out, node);
        return out;
    }

    @SuppressWarnings("unchecked")
    private static Object elements(Collection<?> into, Type element, JsonNode node) throws Exception {
        for (JsonNode one : node) {
            ((Collection<Object>) into).add(value(element, one));
        }
        return into;
    }
}
