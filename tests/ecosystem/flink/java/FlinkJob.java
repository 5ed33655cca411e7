import java.util.Properties;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.serialization.SimpleStringSchema;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ExternalizedCheckpointRetention;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.configuration.StateRecoveryOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.sink.TransactionNamingStrategy;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * Kafka → map → Kafka with the exactly-once sink, in one JVM, until killed; it begins from a checkpoint if one is named:
 * {@code FlinkJob host:port from to checkpoint-folder incrementing|pooling [checkpoint]}.
 */
final class FlinkJob {
    private static final int PARALLELISM = 2;

    public static void main(String[] args) throws Exception {
        Configuration settings = new Configuration();
        settings.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
        settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, "file://" + args[3]);
        settings.set(CheckpointingOptions.EXTERNALIZED_CHECKPOINT_RETENTION, ExternalizedCheckpointRetention.RETAIN_ON_CANCELLATION);
        settings.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, java.time.Duration.ofMillis(1_000));
        settings.set(CheckpointingOptions.MAX_RETAINED_CHECKPOINTS, 3);
        // A broker that is away fails tasks; they begin again from the last checkpoint for as long as it takes.
        settings.set(RestartStrategyOptions.RESTART_STRATEGY, "fixed-delay");
        settings.set(RestartStrategyOptions.RESTART_STRATEGY_FIXED_DELAY_ATTEMPTS, Integer.MAX_VALUE);
        settings.set(RestartStrategyOptions.RESTART_STRATEGY_FIXED_DELAY_DELAY, java.time.Duration.ofMillis(500));
        settings.set(TaskManagerOptions.NETWORK_MEMORY_MIN, MemorySize.ofMebiBytes(16));
        settings.set(TaskManagerOptions.NETWORK_MEMORY_MAX, MemorySize.ofMebiBytes(16));
        settings.set(TaskManagerOptions.MANAGED_MEMORY_SIZE, MemorySize.ofMebiBytes(16));
        if (args.length > 5) {
            settings.set(StateRecoveryOptions.SAVEPOINT_PATH, "file://" + args[5]);
        }
        StreamExecutionEnvironment job = StreamExecutionEnvironment.createLocalEnvironment(PARALLELISM, settings);
        KafkaSource<String> source = KafkaSource.<String>builder()
            .setBootstrapServers(args[0]).setTopics(args[1]).setGroupId("flink").setStartingOffsets(OffsetsInitializer.earliest())
            .setProperty("isolation.level", "read_committed").setValueOnlyDeserializer(new SimpleStringSchema()).build();
        Properties producer = new Properties();
        // Below the broker's transaction.max.timeout.ms (15 minutes), far above the time a restart takes.
        producer.put("transaction.timeout.ms", "300000");
        KafkaSink<String> sink = KafkaSink.<String>builder()
            .setBootstrapServers(args[0]).setKafkaProducerConfig(producer).setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
            .setTransactionalIdPrefix("flink-" + args[2])
            .setTransactionNamingStrategy(TransactionNamingStrategy.valueOf(args[4].toUpperCase()))
            .setRecordSerializer(KafkaRecordSerializationSchema.<String>builder().setTopic(args[2])
                .setValueSerializationSchema(new SimpleStringSchema()).build())
            .build();
        job.fromSource(source, WatermarkStrategy.noWatermarks(), "source").uid("source")
            .map(value -> "mapped-" + value).returns(String.class).uid("map")
            .sinkTo(sink).uid("sink");
        job.execute("exactly-once");
    }
}
