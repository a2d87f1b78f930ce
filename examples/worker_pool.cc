// A worker pool whose results nobody waits for any more.
//
// A batch of pictures is decoded by a pool of four. The collector gives the whole batch up at the first damaged picture
// and drops the pool. Each worker still has a result to hand over, on a channel that nobody reads: four threads stay
// behind for every failed batch, each with a decoded picture.
//
// Fixed (-DFIXED): a pool that is dropped closes its channels and waits for its workers.
#include "examples/channel.h"
#include "examples/service.h"

#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace examples;

constexpr int kWorkers = 4;
constexpr int kPicturesInBatch = 12;
constexpr size_t kPictureBytes = 256 * 1024;

struct Picture {
  int number = 0;
  bool damaged = false;
  std::vector<unsigned char> pixels;
};

Picture decode_picture(int number) { return {number, true, std::vector<unsigned char>(kPictureBytes)}; }

void decode_worker(std::shared_ptr<Channel<int>> jobs, std::shared_ptr<Channel<Picture>> results) {
  name_this_thread("decode-worker");
  while (auto number = jobs->receive())
    if (!results->send(decode_picture(*number))) return;
}

class DecodePool {
public:
  DecodePool() {
    for (int i = 0; i < kWorkers; ++i) workers_.emplace_back(decode_worker, jobs_, results_);
  }
  ~DecodePool() {
#ifdef FIXED
    jobs_->close();
    results_->close();
    for (std::thread &worker : workers_) worker.join();
#else
    for (std::thread &worker : workers_) worker.detach(); // "they end when they have nothing to do"
#endif
  }

  // All jobs, in one go: the pool then ends when they are done.
  void submit(int pictures) {
    for (int number = 1; number <= pictures; ++number) jobs_->try_send(number);
    jobs_->close();
  }
  std::optional<Picture> next_result() { return results_->receive(); }

private:
  std::shared_ptr<Channel<int>> jobs_ = std::make_shared<Channel<int>>(kPicturesInBatch);
  std::shared_ptr<Channel<Picture>> results_ = std::make_shared<Channel<Picture>>();
  std::vector<std::thread> workers_;
};

// The number of the first damaged picture, or 0.
int decode_all_or_nothing(DecodePool &pool) {
  pool.submit(kPicturesInBatch);
  for (int done = 0; done < kPicturesInBatch; ++done)
    if (auto picture = pool.next_result(); picture && picture->damaged) return picture->number;
  return 0;
}

void handle_batch(int batch) {
  name_this_thread("batch-handler");
  DecodePool pool;
  if (int damaged = decode_all_or_nothing(pool))
    log("batch", "batch %d given up: picture %d is damaged", batch, damaged);
  else
    log("batch", "batch %d decoded", batch);
}

} // namespace

int main(int argc, char **argv) {
  Options options = read_options(argc, argv, {.requests = 3});
  log("service", "%d batches of %d pictures, %d workers each", options.requests, kPicturesInBatch, kWorkers);
  for (int batch = 1; batch <= options.requests; ++batch) std::thread(handle_batch, batch).join();
  stay_alive(options);
}
