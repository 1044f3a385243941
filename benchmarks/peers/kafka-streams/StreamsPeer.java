import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.WindowStore;

/**
 * The peer of kafka/streams-peer: three tumbling windows over card events, keyed by card, with count, sum, sum of squares
 * and maximum of the amount each, in RocksDB with changelogs, exactly_once_v2.
 *
 *     java -cp 'libs/*' StreamsPeer.java BROKERS TOPIC EVENTS STATE_FOLDER
 *
 * Prints one line of JSON when every event has been aggregated, and ends.
 */
public final class StreamsPeer {
  private static final Duration GRACE = Duration.ofMinutes(10);
  private static final Duration RETENTION = Duration.ofDays(15);
  private static final Map<String, Duration> WINDOWS =
      Map.of("1h", Duration.ofHours(1), "24h", Duration.ofHours(24), "7d", Duration.ofDays(7));

  private static final AtomicLong applied = new AtomicLong();
  private static final AtomicLong firstCpu = new AtomicLong();
  private static final AtomicLong firstNanos = new AtomicLong();
  private static final CountDownLatch done = new CountDownLatch(1);

  public static void main(String[] args) throws Exception {
    String topic = args[1];
    long updates = Long.parseLong(args[2]) * WINDOWS.size();
    StreamsBuilder builder = new StreamsBuilder();
    Serde<Bytes> keys = Serdes.Bytes();
    Serde<byte[]> values = Serdes.ByteArray();
    KGroupedStream<Bytes, byte[]> events =
        builder
            .stream(topic, Consumed.with(keys, values).withTimestampExtractor((record, before) -> time((byte[]) record.value())))
            .groupByKey(Grouped.with(keys, values));
    WINDOWS.forEach(
        (name, size) ->
            events
                .windowedBy(TimeWindows.ofSizeAndGrace(size, GRACE))
                .aggregate(
                    () -> new byte[32],
                    (key, value, state) -> add(value, state, updates),
                    Materialized.<Bytes, byte[], WindowStore<Bytes, byte[]>>as("w" + name)
                        .withKeySerde(keys)
                        .withValueSerde(values)
                        .withRetention(RETENTION)));
    KafkaStreams streams = new KafkaStreams(builder.build(), settings(args[0], args[3]));
    streams.setUncaughtExceptionHandler(
        error -> {
          error.printStackTrace();
          Runtime.getRuntime().halt(1);
          return null;
        });
    streams.start();
    done.await();
    double seconds = (System.nanoTime() - firstNanos.get()) / 1e9;
    long applying = cpu() - firstCpu.get();
    // Whether it is right is not on its bill; closing is, which flushes.
    StringBuilder counts = new StringBuilder();
    for (String name : WINDOWS.keySet()) {
      var store = streams.store(StoreQueryParameters.fromNameAndType("w" + name, QueryableStoreTypes.<Bytes, byte[]>windowStore()));
      long count = 0;
      double sum = 0;
      try (var all = store.all()) {
        while (all.hasNext()) {
          ByteBuffer state = ByteBuffer.wrap(all.next().value);
          count += state.getLong();
          sum += state.getDouble();
        }
      }
      counts.append(counts.length() == 0 ? "" : ",").append(String.format("{\"count\":%d,\"cents\":%d}", count, Math.round(sum * 100)));
    }
    long beforeClose = cpu();
    streams.close(Duration.ofSeconds(60));
    long closing = cpu() - beforeClose;
    System.out.printf(
        "{\"seconds\":%f,\"cpuSeconds\":%f,\"wholeCpuSeconds\":%f,\"windows\":[%s]}%n",
        seconds, (applying + closing) / 1e9, cpu() / 1e9, counts);
    System.exit(0);
  }

  private static Properties settings(String brokers, String stateFolder) {
    Properties properties = new Properties();
    properties.put(StreamsConfig.APPLICATION_ID_CONFIG, "streams-peer");
    properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
    properties.put(StreamsConfig.STATE_DIR_CONFIG, stateFolder);
    properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1_000);
    properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 256L << 20);
    properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
    properties.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    properties.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
    properties.put(StreamsConfig.consumerPrefix("max.poll.records"), 5_000);
    properties.put(StreamsConfig.producerPrefix("linger.ms"), 100);
    properties.put(StreamsConfig.producerPrefix("compression.type"), "lz4");
    return properties;
  }

  /** count i64 | sum f64 | sum of squares f64 | maximum f64 */
  private static byte[] add(byte[] value, byte[] state, long updates) {
    double amount = amount(value);
    ByteBuffer before = ByteBuffer.wrap(state);
    byte[] next = new byte[32];
    ByteBuffer after = ByteBuffer.wrap(next);
    long count = before.getLong();
    after.putLong(count + 1).putDouble(before.getDouble() + amount).putDouble(before.getDouble() + amount * amount);
    after.putDouble(count == 0 ? amount : Math.max(before.getDouble(), amount));
    long all = applied.incrementAndGet();
    if (all == 1) {
      firstCpu.set(cpu());
      firstNanos.set(System.nanoTime());
    }
    if (all == updates) done.countDown();
    return next;
  }

  private static long cpu() {
    return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
  }

  /** Behind the header of 10 bytes and the card: merchant, country, time, category, amount. */
  private static int afterCountry(byte[] value) {
    int at = 10 + 1 + (value[10] >> 1);
    for (int field = 0; field < 2; field++) while (value[at++] < 0) {}
    return at;
  }

  private static long time(byte[] value) {
    long bits = 0;
    int at = afterCountry(value);
    for (int shift = 0; ; shift += 7) {
      byte each = value[at++];
      bits |= (long) (each & 0x7f) << shift;
      if (each >= 0) return (bits >>> 1) ^ -(bits & 1);
    }
  }

  private static double amount(byte[] value) {
    int at = afterCountry(value);
    for (int field = 0; field < 2; field++) while (value[at++] < 0) {}
    return ByteBuffer.wrap(value, at, 8).order(ByteOrder.LITTLE_ENDIAN).getDouble();
  }
}
