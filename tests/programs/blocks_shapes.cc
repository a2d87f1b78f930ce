// What lost blocks look like: single, chained, a tree, a ring, many, large, empty, moved by realloc.
#include "blocks.h"

#include <cstdlib>
#include <cstring>

namespace blocks {
namespace {

using support::Mode;

struct Node {
  Node *left, *right;
  char payload[33];
};

[[gnu::noinline]] Node *lose_node(Node *left = nullptr, Node *right = nullptr) {
  auto *node = support::make<Node>();
  node->left = left;
  node->right = right;
  return node;
}

// Frees a tree whose rings are cut; needs no stack.
void free_nodes(Node *node) {
  while (node) {
    Node *left = node->left;
    if (left) {
      node->left = left->right; // rotate until there is no left child
      left->right = node;
      node = left;
    } else {
      Node *right = node->right;
      free(node);
      node = right;
    }
  }
}

// Builds with `build`, and does with the result what the mode says.
template <Node *build()> void lose(Mode mode) {
  Node *root = build();
  if (mode == Mode::held) support::kept = root;
  if (mode == Mode::fixed) free_nodes(root);
}

Node *chain() {
  Node *head = nullptr;
  for (int i = 0; i < 10; ++i) head = lose_node(head);
  return head;
}
Node *long_chain() {
  Node *head = nullptr;
  for (int i = 0; i < 100'000; ++i) head = lose_node(head);
  return head;
}
Node *tree_of(int depth) { return depth == 0 ? nullptr : lose_node(tree_of(depth - 1), tree_of(depth - 1)); }
Node *tree() { return tree_of(4); }

void ring(Mode mode) {
  Node *first = lose_node(), *last = first;
  for (int i = 1; i < 5; ++i) last = lose_node(last);
  first->left = last;
  if (mode == Mode::held) support::kept = first;
  if (mode != Mode::fixed) return;
  first->left = nullptr;
  free_nodes(last);
}

template <int count, size_t size> void single(Mode mode) {
  static void *volatile all[count];
  for (auto &each : all) each = support::take(size);
  for (auto &each : all) {
    if (mode == Mode::fixed) free(each);
    if (mode != Mode::held) each = nullptr;
  }
}

[[gnu::noinline]] void *lose_by_growing() {
  void *memory = malloc(100);
  for (size_t size = 200; size <= 5000; size += 600) memory = realloc(memory, size);
  memory = realloc(memory, 5000);
  support::count(5000);
  return memory;
}
void grown(Mode mode) {
  void *memory = lose_by_growing();
  memset(memory, 0, 5000);
  if (mode == Mode::held) support::kept = memory;
  if (mode == Mode::fixed) free(memory);
}

constexpr support::Case kCases[] = {
    {"direct", single<3, 100>},
    {"chain", lose<chain>},
    {"long_chain", lose<long_chain>},
    {"tree", lose<tree>},
    {"ring", ring},
    {"many", single<10'000, 24>},
    {"large", single<1, 300 << 20>},
    {"tiny", single<5, 1>},
    {"grown", grown},
};

} // namespace

const std::span<const support::Case> kShapes = kCases;

} // namespace blocks
