import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * The Java client, told what to produce line by line (kafka-scenario.ts writes the lines):
 *
 *     open ID TRANSACTIONAL_ID|- COMPRESSION     begin ID    commit ID    abort ID    flush ID
 *     send ID TOPIC PARTITION KEY_HEX|- VALUE_HEX|- TIMESTAMP|- HEADERS
 *     sync                                       answers "ok", or "error: …" for the first thing that failed
 */
public class Produce {
  public static void main(String[] args) throws Exception {
    Map<String, KafkaProducer<byte[], byte[]>> producers = new HashMap<>();
    String[] failure = {null};
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line; (line = in.readLine()) != null; ) {
      String[] word = line.split(" ");
      try {
        switch (word[0]) {
          case "open" -> producers.put(word[1], open(args[0], word[2], word[3]));
          case "begin" -> producers.get(word[1]).beginTransaction();
          case "commit" -> producers.get(word[1]).commitTransaction();
          case "abort" -> producers.get(word[1]).abortTransaction();
          case "flush" -> producers.get(word[1]).flush();
          case "send" -> send(producers.get(word[1]), word, failure);
          case "sync" -> {
            System.out.println(failure[0] == null ? "ok" : "error: " + failure[0]);
            System.out.flush();
          }
          default -> throw new IllegalArgumentException(line);
        }
      } catch (Exception error) {
        if (failure[0] == null) failure[0] = line.substring(0, Math.min(line.length(), 80)) + ": " + error;
      }
    }
    // Without a farewell: a transaction that is open stays open, as when a process is killed.
    Runtime.getRuntime().halt(0);
  }

  private static void send(KafkaProducer<byte[], byte[]> producer, String[] word, String[] failure) {
    ProducerRecord<byte[], byte[]> record =
        new ProducerRecord<>(
            word[2],
            Integer.parseInt(word[3]),
            word[6].equals("-") ? null : Long.parseLong(word[6]),
            bytes(word[4]),
            bytes(word[5]));
    for (int index = 0; index < Integer.parseInt(word[7]); index++)
      record.headers().add("header " + index, index % 2 == 0 ? null : new byte[] {1, 2, 3});
    producer.send(
        record,
        (metadata, error) -> {
          if (error != null && failure[0] == null && !error.toString().contains("aborted")) failure[0] = "send: " + error;
        });
  }

  private static KafkaProducer<byte[], byte[]> open(String brokers, String transactionalId, String compression) {
    Properties properties = new Properties();
    properties.put("bootstrap.servers", brokers);
    properties.put("compression.type", compression);
    properties.put("linger.ms", "20");
    properties.put("batch.size", "4096");
    if (!transactionalId.equals("-")) properties.put("transactional.id", transactionalId);
    KafkaProducer<byte[], byte[]> producer =
        new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
    if (!transactionalId.equals("-")) producer.initTransactions();
    return producer;
  }

  private static byte[] bytes(String hex) {
    return hex.equals("-") ? null : HexFormat.of().parseHex(hex.substring(1));
  }
}
