import java.nio.ByteBuffer;
import java.util.Base64;
import java.util.function.Consumer;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.SimpleRecord;
import org.apache.kafka.common.utils.Crc32C;

/** Record batches, good ones by Kafka's builder and bad ones by patching the header (big-endian). */
final class Batch {
    static final int LENGTH = 8;
    static final int MAGIC = 16;
    static final int CRC = 17;
    static final int ATTRIBUTES = 21;
    static final int LAST_OFFSET_DELTA = 23;
    static final int PRODUCER_ID = 43;
    static final int PRODUCER_EPOCH = 51;
    static final int COUNT = 57;
    static final int RECORDS = 61;

    private Batch() {
    }

    static SimpleRecord[] records(int count, long baseTimestamp) {
        SimpleRecord[] out = new SimpleRecord[count];
        for (int i = 0; i < count; i++) {
            out[i] = new SimpleRecord(baseTimestamp + i, ("key" + i).getBytes(), ("value" + i).getBytes());
        }
        return out;
    }

    static MemoryRecords plain(int count) {
        return MemoryRecords.withRecords(Compression.NONE, records(count, 1_000_000));
    }

    static MemoryRecords idempotent(long producerId, int epoch, int sequence, int count) {
        return MemoryRecords.withIdempotentRecords(Compression.NONE, producerId, (short) epoch, sequence, records(count, 1_000_000));
    }

    static String text(MemoryRecords records) {
        return text(bytes(records));
    }

    static String text(byte[] bytes) {
        return Base64.getEncoder().encodeToString(bytes);
    }

    static byte[] bytes(MemoryRecords records) {
        ByteBuffer buffer = records.buffer().duplicate();
        byte[] out = new byte[buffer.remaining()];
        buffer.get(out);
        return out;
    }

    /** Changes the bytes, then makes the CRC right again. */
    static String patched(MemoryRecords records, Consumer<ByteBuffer> change) {
        byte[] bytes = bytes(records);
        change.accept(ByteBuffer.wrap(bytes));
        ByteBuffer.wrap(bytes).putInt(CRC, (int) Crc32C.compute(bytes, ATTRIBUTES, bytes.length - ATTRIBUTES));
        return text(bytes);
    }

    /** Changes the bytes and leaves the CRC as it was. */
    static String broken(MemoryRecords records, Consumer<ByteBuffer> change) {
        byte[] bytes = bytes(records);
        change.accept(ByteBuffer.wrap(bytes));
        return text(bytes);
    }

    /** A batch of one record, uncompressed, whose record bytes are given as they are (without the length). */
    static String handmade(int... record) {
        byte[] out = new byte[RECORDS + 1 + record.length];
        byte[] header = bytes(plain(1));
        System.arraycopy(header, 0, out, 0, RECORDS);
        out[RECORDS] = (byte) (record.length << 1); // zigzag varint of a small length
        for (int i = 0; i < record.length; i++) {
            out[RECORDS + 1 + i] = (byte) record[i];
        }
        ByteBuffer.wrap(out).putInt(LENGTH, out.length - 12);
        ByteBuffer.wrap(out).putInt(CRC, (int) Crc32C.compute(out, ATTRIBUTES, out.length - ATTRIBUTES));
        return text(out);
    }
}
