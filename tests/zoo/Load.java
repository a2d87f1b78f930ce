// Threads, pools, locks, direct buffers, native compression, sockets and garbage; writes what was lost: nothing.
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.zip.Deflater;
import java.util.zip.Inflater;

public class Load {
  static long end;
  static final AtomicLong lost = new AtomicLong();

  static boolean goesOn() { return System.nanoTime() < end; }

  static Void churn() {
    while (goesOn()) {
      TreeMap<Integer, String> map = new TreeMap<>();
      for (int i = 0; i < 20000; ++i) map.put(i, "x".repeat(i % 60));
      for (var entry : map.entrySet())
        if (entry.getValue().length() != entry.getKey() % 60) lost.incrementAndGet();
    }
    return null;
  }

  static Void compress() throws Exception {
    byte[] data = "the same again and again ".repeat(4000).getBytes(), packed = new byte[data.length],
           again = new byte[data.length];
    while (goesOn()) {
      Deflater deflater = new Deflater();
      deflater.setInput(data);
      deflater.finish();
      int size = deflater.deflate(packed);
      deflater.end();
      Inflater inflater = new Inflater();
      inflater.setInput(packed, 0, size);
      inflater.inflate(again);
      inflater.end();
      if (!java.util.Arrays.equals(data, again)) lost.incrementAndGet();
      ByteBuffer direct = ByteBuffer.allocateDirect(1 << 16);
      direct.putLong(8, size);
      if (direct.getLong(8) != size) lost.incrementAndGet();
    }
    return null;
  }

  static Void echo() throws Exception {
    try (ServerSocket server = new ServerSocket(0, 10, InetAddress.getLoopbackAddress())) {
      Thread answer = new Thread(() -> {
        try (Socket socket = server.accept()) {
          for (int b; (b = socket.getInputStream().read()) >= 0;) socket.getOutputStream().write(b);
        } catch (Exception e) {
          lost.incrementAndGet();
        }
      });
      answer.start();
      try (Socket socket = new Socket(server.getInetAddress(), server.getLocalPort())) {
        for (int i = 0; goesOn(); i = (i + 1) % 256) {
          socket.getOutputStream().write(i);
          if (socket.getInputStream().read() != i) lost.incrementAndGet();
        }
      }
      answer.join();
    }
    return null;
  }

  static Void handOff() throws Exception {
    SynchronousQueue<Long> queue = new SynchronousQueue<>();
    ConcurrentHashMap<Long, Boolean> open = new ConcurrentHashMap<>();
    Thread taker = new Thread(() -> {
      try {
        for (Long each; (each = queue.take()) >= 0;)
          if (open.remove(each) == null) lost.incrementAndGet();
      } catch (InterruptedException e) {
        lost.incrementAndGet();
      }
    });
    taker.start();
    for (long i = 0; goesOn(); ++i) {
      open.put(i, true);
      queue.put(i);
    }
    queue.put(-1L);
    taker.join();
    lost.addAndGet(open.size());
    return null;
  }

  static Void threads() throws Exception {
    while (goesOn()) {
      AtomicLong sum = new AtomicLong();
      List<Thread> all = new ArrayList<>();
      for (int i = 0; i < 20; ++i) all.add(new Thread(() -> sum.addAndGet(1)));
      for (Thread each : all) each.start();
      for (Thread each : all) each.join();
      if (sum.get() != 20) lost.incrementAndGet();
      Object lock = new Object();
      synchronized (lock) {
        lock.wait(5);
      }
    }
    return null;
  }

  public static void main(String[] arguments) throws Exception {
    end = System.nanoTime() + (long) (Double.parseDouble(arguments[0]) * 1e9);
    ExecutorService pool = Executors.newFixedThreadPool(6);
    List<Future<Void>> all = new ArrayList<>();
    all.add(pool.submit(Load::churn));
    all.add(pool.submit(Load::compress));
    all.add(pool.submit(Load::echo));
    all.add(pool.submit(Load::handOff));
    all.add(pool.submit(Load::threads));
    for (Future<Void> each : all) each.get();
    pool.shutdown();
    if (!pool.awaitTermination(10, TimeUnit.SECONDS)) lost.incrementAndGet();
    System.gc();
    System.out.println("lost " + lost.get());
  }
}
