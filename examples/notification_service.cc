// A notification service whose subscribers never quite leave.
//
// A subscription has three threads: the pump writes notifications to the client, the heartbeat asks for a ping at each
// tick, the connection monitor hangs up when the subscription's context is cancelled. When a client hangs up,
// the service forgets the subscription, and nothing more: the channel of notifications is not closed, the context not
// cancelled, the ticker not stopped. Nobody who runs can reach what the three wait for, and they keep the subscription
// and each other's channels in memory. The tickers themselves are no leak that reachability could show: the timer
// thread goes on to fire each of them; they are only of no use.
//
// Fixed (-DFIXED): unsubscribing cancels, closes and stops.
#include "examples/channel.h"
#include "examples/loopback.h"
#include "examples/service.h"
#include "examples/timer.h"

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <variant>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace examples;

constexpr auto kHeartbeat = 20ms;      // 30 s in earnest
constexpr auto kLookAtClient = 10ms;   // how soon a client's leaving is seen
constexpr size_t kBacklog = 256;       // notifications that a slow client may be behind
constexpr size_t kHistory = 32 * 1024; // bytes of old notifications kept for each subscriber

struct Message {
  std::string text;
};
struct Signal {};

struct Subscription {
  Subscription(std::string name, Socket socket, std::shared_ptr<Ticker> clock)
      : user(std::move(name)), client(std::move(socket)), ticker(std::move(clock)) {}

  std::string user;
  Socket client;
  std::shared_ptr<Ticker> ticker;
  std::string history = std::string(kHistory, '-');
  Channel<Message> messages{kBacklog};
  Channel<Signal> pings;   // heartbeat to connection
  Channel<Signal> context; // its closing cancels the subscription
};
using SubscriptionPtr = std::shared_ptr<Subscription>;

void pump_messages(SubscriptionPtr subscription) {
  name_this_thread("pump");
  while (auto message = subscription->messages.receive()) subscription->client.write(message->text + "\n");
}

void heartbeat(SubscriptionPtr subscription) {
  name_this_thread("heartbeat");
  while (subscription->ticker->wait_for_tick() && subscription->pings.send({})) {
  }
}

void connection_monitor(SubscriptionPtr subscription) {
  name_this_thread("conn-monitor");
  subscription->context.receive();
  subscription->client.hang_up();
}

class NotificationService {
public:
  SubscriptionPtr subscribe(const std::string &user, Socket client) {
    auto subscription = std::make_shared<Subscription>(user, std::move(client), timer_.start_ticker(kHeartbeat));
    std::thread(pump_messages, subscription).detach();
    std::thread(heartbeat, subscription).detach();
    std::thread(connection_monitor, subscription).detach();
    std::lock_guard lock(mutex_);
    subscriptions_[user] = subscription;
    return subscription;
  }

  void unsubscribe(const SubscriptionPtr &subscription) {
#ifdef FIXED
    timer_.stop_ticker(subscription->ticker);
    subscription->messages.close();
    subscription->pings.close();
    subscription->context.close();
#endif
    std::lock_guard lock(mutex_);
    subscriptions_.erase(subscription->user);
  }

  void publish(const Message &message) {
    std::lock_guard lock(mutex_);
    for (auto &[user, subscription] : subscriptions_) subscription->messages.try_send(message);
  }

  size_t subscribers() {
    std::lock_guard lock(mutex_);
    return subscriptions_.size();
  }
  size_t tickers() { return timer_.tickers(); }

private:
  std::mutex mutex_;
  std::map<std::string, SubscriptionPtr> subscriptions_; // by user
  TimerThread timer_;
};

// The life of a subscriber: it is told who comes online, and answers pings, until it hangs up.
void serve_subscriber(NotificationService &service, Socket client) {
  name_this_thread("connection");
  std::string user = client.read_line().value_or("nobody");
  SubscriptionPtr subscription = service.subscribe(user, std::move(client));
  service.publish({user + " is online"});
  while (!subscription->client.peer_has_left())
    if (subscription->pings.receive_for(kLookAtClient)) subscription->client.write("ping\n");
  service.unsubscribe(subscription);
  log("service", "%s has left", user.c_str());
}

// A client that stays until it has had its first notification and its first ping.
void subscribe_for_a_while(uint16_t port, int number) {
  name_this_thread("client");
  Socket service = connect_to(port);
  service.write("user-" + std::to_string(number) + "\n");
  service.read_line();
  while (service.read_line().value_or("ping") != "ping") {
  }
}

void wait_until_all_have_left(NotificationService &service) {
  while (service.subscribers() > 0) std::this_thread::sleep_for(kLookAtClient);
}

} // namespace

int main(int argc, char **argv) {
  Options options = read_options(argc, argv, {.requests = 10});
  NotificationService service;
  Listener listener([&service](Socket client) { serve_subscriber(service, std::move(client)); });
  log("service", "notifications on port %d", listener.port());

  std::vector<std::thread> clients;
  for (int i = 1; i <= options.requests; ++i) clients.emplace_back(subscribe_for_a_while, listener.port(), i);
  for (std::thread &client : clients) client.join();
  wait_until_all_have_left(service);
  log("service", "%zu subscribers, %zu tickers", service.subscribers(), service.tickers());
  stay_alive(options);
}
