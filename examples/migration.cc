// A database handle that was opened for a migration and never closed.
//
// A handle has a pool of connections and a thread, the connection opener, that adds one whenever somebody asks for it.
// The thread keeps the pool's state alive, so dropping the handle frees nothing and ends nothing: close() has to be
// called. The migration at the start of the service forgot it. The service's own handle is in use and is no leak,
// though its opener waits at the same line.
//
// Fixed (-DFIXED): the migration closes its handle when it leaves.
#include "examples/channel.h"
#include "examples/service.h"

#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace examples;

constexpr size_t kConnectionBuffer = 16 * 1024;

struct Connection {
  std::string database;
  std::vector<char> buffer = std::vector<char>(kConnectionBuffer);
  int statements = 0;
};

struct Pool {
  explicit Pool(std::string name) : database(std::move(name)) {}

  const std::string database;
  Channel<int> open_requests{8};
  Channel<std::unique_ptr<Connection>> idle{8};
};

void connection_opener(std::shared_ptr<Pool> pool) {
  name_this_thread("conn-opener");
  while (pool->open_requests.receive())
    pool->idle.send(std::unique_ptr<Connection>(new Connection{.database = pool->database}));
}

class Database {
public:
  explicit Database(const std::string &name) : pool_(std::make_shared<Pool>(name)) {
    std::thread(connection_opener, pool_).detach();
    pool_->open_requests.send(1);
  }

  void execute(const std::string &statement) {
    auto connection = pool_->idle.receive();
    if (!connection) return;
    ++(*connection)->statements;
    log("database", "%s: %s", pool_->database.c_str(), statement.c_str());
    pool_->idle.send(std::move(*connection));
  }

  // Ends the opener. Must be called when the handle is no longer needed.
  void close() { pool_->open_requests.close(); }

private:
  std::shared_ptr<Pool> pool_;
};

#ifdef FIXED
struct CloseAtEnd {
  Database &database;
  ~CloseAtEnd() { database.close(); }
};
#endif

void run_migration(int tenant) {
  name_this_thread("migration");
  Database database("tenant-" + std::to_string(tenant));
#ifdef FIXED
  CloseAtEnd closer{database};
#endif
  database.execute("ALTER TABLE orders ADD COLUMN currency CHAR(3)");
  database.execute("UPDATE orders SET currency = 'EUR'");
}

} // namespace

int main(int argc, char **argv) {
  Options options = read_options(argc, argv, {.requests = 1});
  Database database("orders");
  database.execute("SELECT 1");
  for (int tenant = 1; tenant <= options.requests; ++tenant) std::thread(run_migration, tenant).join();
  log("service", "migrations done: %d", options.requests);
  stay_alive(options);
  database.execute("SELECT 2");
  database.close();
}
