// Inputs are small integers and powers of two, so that every sum is exact and "wrong" is a count.
#include "tests/comm/checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>

#include "tests/device_test.h"

namespace thinwire {
namespace {

constexpr std::array<int64_t, 10> kSizes = {0, 1, 31, 32, 33, 127, 129, 1000, 7919, (1 << 18) + 7};

void Expect(bool right, const std::string& what, Findings& findings) {
  if (!right) findings.push_back(what);
}

template <typename T>
void ExpectEqual(const std::vector<T>& found, const std::vector<T>& expected,
                 const std::string& what, Findings& findings) {
  int64_t wrong = found.size() == expected.size() ? 0 : 1;
  for (size_t i = 0; i < found.size() && i < expected.size(); ++i) wrong += found[i] != expected[i];
  Expect(wrong == 0, fmt::format("{}: {} of {} wrong", what, wrong, expected.size()), findings);
}

/// Element i of what rank r tells rank q: never the same for two of them in a row.
template <typename T>
T Value(int r, int q, int64_t i) {
  return static_cast<T>((r * 7 + q * 3 + i) % 120);
}

/// Element i of rank r's part of a sum; a float32 or int32 holds the sum of 64 such exactly.
template <typename T>
T Summand(int r, int64_t i) {
  return static_cast<T>((r + 1) * (i % 13 - 6) * (i % 3 == 0 ? 1024 : 1));
}

template <typename T>
T SumOfSummands(int ranks, int64_t i) {
  T sum = 0;
  for (int r = 0; r < ranks; ++r) sum += Summand<T>(r, i);
  return sum;
}

/// What rank r of n sends rank q: nothing for some, uneven for the others. Large sizes are split,
/// so that many ranks do not take long.
int64_t UnevenCount(int64_t size, int n, int r, int q) {
  return (r + 2 * q) % 3 == 2 ? 0 : (size > 1000 ? (size + n - 1) / n : size) + r + q;
}

/// Runs `body`, and checks how many bytes it moved for `purpose`, and that others moved none.
template <typename Body>
void ExpectTraffic(Communicator& communicator, Purpose purpose, int64_t sent, int64_t received,
                   const std::string& what, Findings& findings, const Body& body) {
  const Traffic before = communicator.traffic();
  body();
  Traffic expected = before;
  expected.sent[static_cast<size_t>(purpose)] += sent;
  expected.received[static_cast<size_t>(purpose)] += received;
  Expect(communicator.traffic().sent == expected.sent, what + ": bytes sent", findings);
  Expect(communicator.traffic().received == expected.received, what + ": bytes received", findings);
}

template <typename T>
void AllToAllOf(Communicator& communicator, Device& device, Findings& findings) {
  const int n = communicator.size(), rank = communicator.rank();
  for (const int64_t size : kSizes) {
    const std::string what = fmt::format("all-to-all of {} x {} bytes", size, sizeof(T));
    std::vector<T> send, expected;
    std::vector<int64_t> send_counts, receive_counts;
    int64_t sent = 0, received = 0;
    for (int q = 0; q < n; ++q) {
      send_counts.push_back(UnevenCount(size, n, rank, q));
      for (int64_t i = 0; i < send_counts.back(); ++i) send.push_back(Value<T>(rank, q, i));
      receive_counts.push_back(UnevenCount(size, n, q, rank));
      for (int64_t i = 0; i < receive_counts.back(); ++i) expected.push_back(Value<T>(q, rank, i));
      if (q == rank) continue;
      sent += send_counts.back() * static_cast<int64_t>(sizeof(T));
      received += receive_counts.back() * static_cast<int64_t>(sizeof(T));
    }
    const TestBuffer<T> source(device, send, 1);
    const TestBuffer<T> result(device, static_cast<int64_t>(expected.size()), 3);
    ExpectTraffic(communicator, Purpose::kUplink, sent, received, what, findings, [&] {
      communicator.AllToAll(source, send_counts, result, receive_counts, Purpose::kUplink);
    });
    ExpectEqual(result.Read(), expected, what, findings);
    ExpectEqual(source.Read(), send, what + ", the source", findings);
  }
}

template <typename T>
void AllGatherOf(Communicator& communicator, Device& device, Findings& findings) {
  const int n = communicator.size(), rank = communicator.rank();
  for (const int64_t size : kSizes) {
    for (const bool in_place : {false, true}) {
      const std::string what = fmt::format("all-gather of {} x {} bytes{}", size, sizeof(T),
                                           in_place ? ", in place" : "");
      std::vector<T> expected;
      std::vector<int64_t> counts;
      int64_t start = 0, own = 0;
      for (int q = 0; q < n; ++q) {
        counts.push_back(UnevenCount(size, n, q, 1));
        if (q == rank) {
          start = static_cast<int64_t>(expected.size());
          own = counts.back();
        }
        for (int64_t i = 0; i < counts.back(); ++i) expected.push_back(Value<T>(q, 0, i));
      }
      const auto all = static_cast<int64_t>(expected.size());
      std::vector<T> send(expected.begin() + start, expected.begin() + start + own);
      const TestBuffer<T> source(device, send);
      std::vector<T> initial(expected.size(), T{121});
      if (in_place) std::copy(send.begin(), send.end(), initial.begin() + start);
      const TestBuffer<T> result(device, initial, 1);
      const int64_t bytes = sizeof(T);
      ExpectTraffic(communicator, Purpose::kDownlink, own * (n - 1) * bytes, (all - own) * bytes,
                    what, findings, [&] {
                      communicator.AllGather(in_place ? ConstView(result.view().Slice(start, own))
                                                      : ConstView(source.view()),
                                             result, counts, Purpose::kDownlink);
                    });
      ExpectEqual(result.Read(), expected, what, findings);
    }
  }
}

/// What is worked on while an all-gather is under way is there, and only ever more of it.
void WorkOnArrived(Communicator& communicator, Device& device, Findings& findings) {
  const int n = communicator.size(), rank = communicator.rank();
  const auto ranks = static_cast<size_t>(n);
  std::vector<int64_t> counts;
  std::vector<uint8_t> expected;
  for (int q = 0; q < n; ++q) {
    counts.push_back(q % 4 == 2 ? 0 : 1'000'003 + q);
    for (int64_t i = 0; i < counts.back(); ++i) expected.push_back(Value<uint8_t>(q, 0, i));
  }
  std::vector<int64_t> starts(ranks);
  std::exclusive_scan(counts.begin(), counts.end(), starts.begin(), int64_t{0});
  const auto own = static_cast<size_t>(rank);
  const std::vector<uint8_t> send(expected.begin() + starts[own],
                                  expected.begin() + starts[own] + counts[own]);
  const TestBuffer<uint8_t> source(device, send);
  // That all parts are here at the first look can happen, but not again and again.
  int calls = 0, wrong = 0;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const TestBuffer<uint8_t> result(device, std::ssize(expected));
    std::vector<int64_t> checked(ranks, 0);
    const auto work = [&](std::span<const int64_t> arrived) {
      ++calls;
      bool any = false;
      const auto* bytes = static_cast<const uint8_t*>(result.view().data);
      for (size_t q = 0; q < ranks; ++q) {
        wrong += arrived[q] < checked[q] || arrived[q] > counts[q];
        any = any || arrived[q] > checked[q];
        for (; checked[q] < arrived[q]; ++checked[q]) {
          const int64_t at = starts[q] + checked[q];
          wrong += bytes[at] != expected[static_cast<size_t>(at)];
        }
      }
      return any;
    };
    communicator.AllGather(source, result, counts, Purpose::kDownlink, work);
    ExpectEqual(result.Read(), expected, "all-gather that is worked on", findings);
  }
  Expect(wrong == 0, fmt::format("{} bytes that had arrived are wrong", wrong), findings);
  const bool sees_parts = std::string(communicator.kind()) == "mpi" && device.host_visible();
  Expect(sees_parts || calls == 0, "work where nobody sees parts arrive", findings);
  const auto all_calls = communicator.AllGatherHost(int64_t{calls});
  const bool any = std::any_of(all_calls.begin(), all_calls.end(), [](int64_t c) { return c > 0; });
  Expect(any == (sees_parts && n > 1), "no rank worked while parts arrived", findings);
}

template <typename T>
void ReduceScatterOf(Communicator& communicator, Device& device, Findings& findings) {
  const int n = communicator.size(), rank = communicator.rank();
  for (const int64_t size : kSizes) {
    const std::string what = fmt::format("reduce-scatter of {} x {} bytes", size, sizeof(T));
    std::vector<int64_t> counts;
    int64_t all = 0, start = 0;
    for (int q = 0; q < n; ++q) {
      counts.push_back(UnevenCount(size, n, q, 0));
      if (q == rank) start = all;
      all += counts.back();
    }
    std::vector<T> values, expected;
    for (int64_t i = 0; i < all; ++i) values.push_back(Summand<T>(rank, i));
    const int64_t own = counts[static_cast<size_t>(rank)];
    for (int64_t i = start; i < start + own; ++i) {
      expected.push_back(static_cast<T>(SumOfSummands<T>(n, i) * 2));
    }
    const TestBuffer<T> source(device, values);
    const TestBuffer<T> result(device, own, 1);
    const int64_t bytes = sizeof(T);
    ExpectTraffic(
        communicator, Purpose::kState, (all - own) * bytes, (n - 1) * own * bytes, what, findings,
        [&] { communicator.ReduceScatter(source, result, counts, 2.0, Purpose::kState); });
    ExpectEqual(result.Read(), expected, what, findings);
    ExpectEqual(source.Read(), values, what + ", the source", findings);
  }
}

template <typename T>
void AllReduceOf(Communicator& communicator, Device& device, Findings& findings) {
  const int n = communicator.size(), rank = communicator.rank();
  for (const int64_t size : kSizes) {
    const std::string what = fmt::format("all-reduce of {} x {} bytes", size, sizeof(T));
    std::vector<T> values, expected;
    for (int64_t i = 0; i < size; ++i) values.push_back(Summand<T>(rank, i));
    for (int64_t i = 0; i < size; ++i)
      expected.push_back(static_cast<T>(SumOfSummands<T>(n, i) * 4));
    const TestBuffer<T> data(device, values);
    const int64_t own = size / n + (rank < size % n ? 1 : 0);
    const int64_t sent = (size - own + (n - 1) * own) * static_cast<int64_t>(sizeof(T));
    ExpectTraffic(communicator, Purpose::kMeasurement, sent, sent, what, findings,
                  [&] { communicator.AllReduce(data, 4.0, Purpose::kMeasurement); });
    ExpectEqual(data.Read(), expected, what, findings);
  }
}

template <typename T>
void BroadcastOf(Communicator& communicator, Device& device, Findings& findings) {
  const int n = communicator.size();
  for (const int64_t size : kSizes) {
    for (const int root : {0, n / 2, n - 1}) {
      const std::string what = fmt::format("broadcast of {} x {} bytes", size, sizeof(T));
      const bool is_root = communicator.rank() == root;
      std::vector<T> values(static_cast<size_t>(size)), expected;
      for (int64_t i = 0; i < size; ++i) expected.push_back(Value<T>(root, 5, i));
      if (is_root) values = expected;
      const TestBuffer<T> data(device, values, 1);
      const int64_t bytes = size * static_cast<int64_t>(sizeof(T));
      ExpectTraffic(communicator, Purpose::kControl, is_root ? bytes * (n - 1) : 0,
                    is_root ? 0 : bytes, what, findings,
                    [&] { communicator.Broadcast(data, root, Purpose::kControl); });
      ExpectEqual(data.Read(), expected, what, findings);
    }
  }
}

template <void (*kFloat)(Communicator&, Device&, Findings&),
          void (*kDouble)(Communicator&, Device&, Findings&),
          void (*kOther)(Communicator&, Device&, Findings&)>
void EachType(Communicator& communicator, Device& device, Findings& findings) {
  kFloat(communicator, device, findings);
  kDouble(communicator, device, findings);
  kOther(communicator, device, findings);
}

/// A sum in rank order, in float64, rounded once: not what any other order or type would give.
void SumOrder(Communicator& communicator, Device& device, Findings& findings) {
  const int n = communicator.size();
  const auto part = [](int r) {
    return static_cast<float>(std::ldexp(1.0 + 0.1 * r, (r * 5) % 31));
  };
  double sum = 0;
  for (int r = 0; r < n; ++r) sum += static_cast<double>(part(r));
  const float expected = static_cast<float>(sum / 3);
  const TestBuffer<float> data(device, std::vector<float>(100, part(communicator.rank())));
  communicator.AllReduce(data, 1.0 / 3, Purpose::kUplink);
  const float product = static_cast<float>(sum * (1.0 / 3));
  for (const float value : data.Read()) {
    if (value == product || (n == 1 && value == expected)) continue;
    findings.push_back(fmt::format("a sum is {}, not {}", value, product));
    return;
  }
}

void HostValues(Communicator& communicator, Device&, Findings& findings) {
  const int n = communicator.size(), rank = communicator.rank();
  std::vector<double> numbers;
  std::vector<int64_t> counts;
  std::vector<std::string> texts;
  for (int r = 0; r < n; ++r) {
    numbers.push_back(r == 1 ? 1e300 : -0.5 * r);
    counts.push_back((int64_t{1} << 53) + 1 + r);
    texts.push_back(std::string(static_cast<size_t>(r % 3 * 1000), static_cast<char>('a' + r)));
  }
  const auto own = static_cast<size_t>(rank);
  const int64_t words = 8 * (n - 1);
  ExpectTraffic(
      communicator, Purpose::kControl, words, words, "all-gather of numbers", findings,
      [&] { ExpectEqual(communicator.AllGatherHost(numbers[own]), numbers, "numbers", findings); });
  ExpectEqual(communicator.AllGatherHost(counts[own]), counts, "counts", findings);
  ExpectEqual(communicator.AllGatherHost(texts[own]), texts, "texts", findings);
  for (const std::string& text : {std::string(), std::string("model"), std::string(100000, 'x')}) {
    for (const int root : {0, n - 1}) {
      const std::string mine = rank == root ? text : "what others say does not count";
      Expect(communicator.BroadcastHost(mine, root) == text, "broadcast of a text", findings);
    }
  }
}

/// Many small collectives in a row, of different kinds: nothing of one is taken for the next.
void Sequence(Communicator& communicator, Device& device, Findings& findings) {
  const int n = communicator.size(), rank = communicator.rank();
  const TestBuffer<int32_t> word(device, 1);
  for (int32_t i = 0; i < 200; ++i) {
    communicator.SetStep(i);
    if (i % 3 == 0) communicator.Barrier();
    const int32_t value = rank == i % n ? i : -1;
    device.CopyFromHost(&value, word);
    communicator.Broadcast(word, i % n, Purpose::kControl);
    Expect(word.Read()[0] == i, "a broadcast in a sequence", findings);
    const auto all = communicator.AllGatherHost(int64_t{i} * n + rank);
    for (int r = 0; r < n; ++r) {
      Expect(all[static_cast<size_t>(r)] == int64_t{i} * n + r, "an all-gather in a sequence",
             findings);
    }
  }
  Expect(communicator.step() == 199, "the step", findings);
  Expect(communicator.seconds() > 0, "the time", findings);
}

constexpr CollectiveCheck kChecks[] = {
    {"AllToAll", EachType<AllToAllOf<float>, AllToAllOf<double>, AllToAllOf<uint8_t>>},
    {"AllGather", EachType<AllGatherOf<float>, AllGatherOf<double>, AllGatherOf<uint8_t>>},
    {"WorkOnArrived", WorkOnArrived},
    {"ReduceScatter",
     EachType<ReduceScatterOf<float>, ReduceScatterOf<double>, ReduceScatterOf<int32_t>>},
    {"AllReduce", EachType<AllReduceOf<float>, AllReduceOf<double>, AllReduceOf<int32_t>>},
    {"Broadcast", EachType<BroadcastOf<float>, BroadcastOf<double>, BroadcastOf<uint8_t>>},
    {"SumOrder", SumOrder},
    {"HostValues", HostValues},
    {"Sequence", Sequence},
};

}  // namespace

std::span<const CollectiveCheck> CollectiveChecks() { return kChecks; }

}  // namespace thinwire
