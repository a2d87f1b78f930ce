// A request handler that gives up on its worker, and a worker that never learns of it.
//
// Each request starts a worker that fetches a report and sends it on a channel. The handler waits for 50 ms, answers
// 504 and goes. The channel is unbuffered: when the report is there at last, the worker waits for somebody to take it,
// for ever, with the report in its hands. Ten slow requests leave ten threads.
//
// Fixed (-DFIXED): the channel has room for the one value that it will ever carry.
#include "examples/channel.h"
#include "examples/loopback.h"
#include "examples/service.h"

#include <charconv>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace examples;

constexpr auto kDeadline = 50ms; // of a request
constexpr auto kSlowBackend = 400ms;
constexpr size_t kReportSize = 64 * 1024;

#ifdef FIXED
constexpr size_t kResultCapacity = 1;
#else
constexpr size_t kResultCapacity = 0;
#endif

struct Report {
  int id = 0;
  std::string text;
};
using ReportChannel = Channel<Report>;

// Report 0 is in the cache, all others come from a slow backend.
Report fetch_report(int id) {
  if (id != 0) std::this_thread::sleep_for(kSlowBackend);
  return {id, std::string(kReportSize, 'r')};
}

void report_worker(int id, std::shared_ptr<ReportChannel> result) {
  name_this_thread("report-worker");
  result->send(fetch_report(id));
}

std::string handle_report(int id) {
  auto result = std::make_shared<ReportChannel>(kResultCapacity);
  std::thread(report_worker, id, result).detach();
  if (auto report = result->receive_for(kDeadline))
    return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(report->text.size()) + "\r\n\r\n" + report->text;
  return "HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n";
}

// The number in "GET /report/N HTTP/1.1", or -1.
int report_id(const std::string &request) {
  constexpr std::string_view kPath = "GET /report/";
  int id = -1;
  if (request.starts_with(kPath)) std::from_chars(request.data() + kPath.size(), request.data() + request.size(), id);
  return id;
}

void handle_connection(Socket client) {
  name_this_thread("http-handler");
  std::string request = client.read_line().value_or("");
  while (client.read_line().value_or("") != "") {
  } // headers
  int id = report_id(request);
  std::string response = id < 0 ? "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" : handle_report(id);
  client.write(response);
  log("handler", "%s: %s", request.c_str(), response.substr(0, response.find('\r')).c_str());
}

void request_report(uint16_t port, int id) {
  name_this_thread("http-client");
  Socket server = connect_to(port);
  server.write("GET /report/" + std::to_string(id) + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  server.read_line();
}

void request_reports(uint16_t port, int count) {
  std::vector<std::thread> clients;
  for (int id = 0; id <= count; ++id) clients.emplace_back(request_report, port, id);
  for (std::thread &client : clients) client.join();
}

} // namespace

int main(int argc, char **argv) {
  Options options = read_options(argc, argv, {.requests = 10});
  Listener listener(handle_connection);
  log("service", "reports on port %d", listener.port());
  request_reports(listener.port(), options.requests);
  stay_alive(options);
}
