// One of each thing that a block or a thread can be kept alive by, with its addresses said, for `castaway why`.
#include "support.h"

#include <cstdlib>
#include <semaphore.h>
#include <unistd.h>

struct Entry {
  Entry *next;
  void *payload;
};

Entry *session_table[4];

namespace {

long number_of(void *pointer) { return reinterpret_cast<long>(pointer); }

[[gnu::noinline]] void *lose() { return support::take(100); }

void *hold_on_stack(void *) {
  void *volatile buffer = support::take(200);
  support::say("stacks", number_of(buffer));
  support::park();
  support::keep_frame();
  return buffer;
}

struct Gate {
  long ballast = 0;
  sem_t semaphore;
};

void *wait_at_gate(void *argument) {
  auto *gate = static_cast<Gate *>(argument);
  sem_wait(&gate->semaphore);
  support::keep_frame();
  return gate;
}

Gate *make_gate() {
  auto *gate = support::make<Gate>();
  sem_init(&gate->semaphore, 0, 0);
  return gate;
}

void everything(support::Mode) {
  session_table[2] = support::make<Entry>();
  session_table[2]->next = support::make<Entry>();
  session_table[2]->next->payload = support::take(64);
  support::say("globals", number_of(session_table[2]->next->payload));
  support::say("holder", support::start_blocked(hold_on_stack, nullptr));
  support::say("lost", number_of(lose()));
  Gate *open_gate = make_gate();
  session_table[3] = reinterpret_cast<Entry *>(open_gate);
  support::say("waiter", support::start_blocked(wait_at_gate, open_gate));
  support::say("leaked", support::start_blocked(wait_at_gate, make_gate()));
}

constexpr support::Case kCases[] = {{"everything", everything}};

} // namespace

int main(int argc, char **argv) { return support::run(argc, argv, {kCases}); }
