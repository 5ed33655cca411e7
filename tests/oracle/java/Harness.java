import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;

/** What the Java suites share: named scenarios, bounded waits, comparisons, topics that are removed. */
final class Harness implements AutoCloseable {
    static final long WAIT_SECONDS = 20;

    interface Scenario {
        void run() throws Exception;
    }

    final String suite;
    final String bootstrap;
    final boolean long_;
    final Admin admin;
    private final List<String> topics = new ArrayList<>();
    private int failed;
    private int passed;

    Harness(String suite, String[] args, int watchdogSeconds) {
        this.suite = suite;
        List<String> given = Arrays.asList(args);
        int at = given.indexOf("--bootstrap");
        if (at < 0 || at + 1 == given.size()) {
            System.out.println("usage: " + suite + " --bootstrap host:port [--long]");
            System.exit(2);
        }
        bootstrap = given.get(at + 1);
        long_ = given.contains("--long");
        int seconds = long_ ? watchdogSeconds * 8 : watchdogSeconds;
        Thread watchdog = new Thread(() -> {
            try {
                Thread.sleep(seconds * 1000L);
            } catch (InterruptedException e) {
                return;
            }
            REAL_OUT.println("  watchdog: " + suite + " hangs after " + seconds + " s");
            Runtime.getRuntime().halt(1);
        });
        // close() halts and so skips this: it runs only when something else ends the process.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            REAL_OUT.println("  " + suite + " ended before its last scenario");
            Runtime.getRuntime().halt(1);
        }));
        watchdog.setDaemon(true);
        watchdog.start();
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap, "default.api.timeout.ms", "20000",
            "request.timeout.ms", "15000"));
    }

    static final java.io.PrintStream REAL_OUT = System.out;

    int scale() {
        return long_ ? 20 : 1;
    }

    void scenario(String name, Scenario scenario) {
        long started = System.nanoTime();
        String verdict = "ok";
        try {
            scenario.run();
            passed++;
        } catch (Throwable error) { // one scenario's failure must not hide the next one's
            Throwable cause = error instanceof ExecutionException && error.getCause() != null ? error.getCause() : error;
            verdict = "FAILED: " + cause;
            if (cause instanceof NullPointerException || System.getenv("ORACLE_TRACE") != null) {
                cause.printStackTrace(REAL_OUT);
            }
            failed++;
        }
        REAL_OUT.printf("  %s: %s %s (%.1f s)%n", suite, name, verdict, (System.nanoTime() - started) / 1e9);
    }

    String topic(String label, int partitions, Map<String, String> configs) throws Exception {
        String name = "java-" + label + "-" + UUID.randomUUID().toString().substring(0, 8);
        await(admin.createTopics(List.of(new NewTopic(name, partitions, (short) 1).configs(configs))).all());
        topics.add(name);
        return name;
    }

    String topic(String label, int partitions) throws Exception {
        return topic(label, partitions, Map.of());
    }

    static <T> T await(org.apache.kafka.common.KafkaFuture<T> future) throws Exception {
        return future.get(WAIT_SECONDS, TimeUnit.SECONDS);
    }

    Properties properties(Object... pairs) {
        Properties out = new Properties();
        out.put("bootstrap.servers", bootstrap);
        for (int i = 0; i < pairs.length; i += 2) {
            out.put(pairs[i], pairs[i + 1]);
        }
        return out;
    }

    static void check(boolean condition, String message) {
        if (!condition) {
            throw new AssertionError(message);
        }
    }

    static void same(Object got, Object want, String what) {
        if (!Objects.deepEquals(got, want)) {
            throw new AssertionError(what + ": got " + brief(got) + ", want " + brief(want));
        }
    }

    private static String brief(Object value) {
        String text = String.valueOf(value);
        return text.length() > 300 ? text.substring(0, 300) + "…" : text;
    }

    /** Runs `action`, which must fail with a cause of this type. */
    static void refused(Class<? extends Throwable> type, Scenario action, String what) throws Exception {
        try {
            action.run();
        } catch (Exception error) {
            for (Throwable t = error; t != null; t = t.getCause()) {
                if (type.isInstance(t)) {
                    return;
                }
            }
            throw new AssertionError(what + ": got " + error + ", want " + type.getSimpleName());
        }
        throw new AssertionError(what + ": accepted, want " + type.getSimpleName());
    }

    interface Probe {
        boolean holds() throws Exception;
    }

    static void until(String what, Probe probe) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(WAIT_SECONDS);
        while (!probe.holds()) {
            check(System.nanoTime() < deadline, what + ": not within " + WAIT_SECONDS + " s");
            Thread.sleep(20);
        }
    }

    /** Removes the topics, prints the tally and ends the process. */
    @Override
    public void close() {
        try {
            await(admin.deleteTopics(topics).all());
        } catch (Exception ignored) {
            // Leftovers of a broken broker; the scenarios have said so already.
        }
        REAL_OUT.printf("  %s: %d passed, %d failed%n", suite, passed, failed);
        REAL_OUT.flush();
        Runtime.getRuntime().halt(failed == 0 ? 0 : 1);
    }
}
