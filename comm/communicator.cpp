#include "comm/communicator.h"

#include <fmt/format.h>

#include <numeric>

#include "comm/failure.h"
#include "kernels/error.h"

namespace thinwire {
namespace {

int64_t Sum(std::span<const int64_t> counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

std::vector<int64_t> InBytes(std::span<const int64_t> counts, DataType type) {
  std::vector<int64_t> bytes(counts.begin(), counts.end());
  for (int64_t& count : bytes) count *= SizeOf(type);
  return bytes;
}

/// Counts of elements have to fit the view that they divide: nothing outside it is touched.
void CheckCounts(std::span<const int64_t> counts, int ranks, ConstView view, const char* what) {
  bool fits = counts.size() == static_cast<size_t>(ranks);
  int64_t room = view.size;
  for (const int64_t count : counts) {
    fits = fits && count >= 0 && count <= room;
    room -= count;
  }
  if (!fits) {
    throw Error(fmt::format("{}: {} counts that do not fit {} elements and {} ranks", what,
                            counts.size(), view.size, ranks),
                "");
  }
}

void CheckOwnPart(std::span<const int64_t> counts, int rank, int64_t size) {
  if (size >= counts[static_cast<size_t>(rank)]) return;
  throw Error(fmt::format("all-gather: rank {} sends {} elements of only {}", rank,
                          counts[static_cast<size_t>(rank)], size),
              "");
}

/// Near-equal parts of `count` elements, one a rank.
std::vector<int64_t> EvenParts(int64_t count, int ranks) {
  std::vector<int64_t> parts(static_cast<size_t>(ranks), count / ranks);
  for (int64_t r = 0; r < count % ranks; ++r) ++parts[static_cast<size_t>(r)];
  return parts;
}

/// What other ranks say is not trusted: a text's length before memory is made for it.
void CheckLength(int64_t length, int rank) {
  if (length < 0 || length > (int64_t{1} << 30)) {
    throw Error(fmt::format("rank {} announces a text of {} bytes", rank, length), "");
  }
}

const std::byte* Bytes(ConstView view) { return static_cast<const std::byte*>(view.data); }
std::byte* Bytes(View view) { return static_cast<std::byte*>(view.data); }

ConstView AsView(std::span<const std::byte> bytes) {
  return {bytes.data(), std::ssize(bytes), DataType::kUint8};
}
ConstView FirstBytes(ConstView view, int64_t bytes) { return {view.data, bytes, DataType::kUint8}; }
View FirstBytes(View view, int64_t bytes) { return {view.data, bytes, DataType::kUint8}; }

}  // namespace

int64_t Traffic::total_sent() const { return Sum(sent); }
int64_t Traffic::total_received() const { return Sum(received); }

/// Times a collective and counts what it moves.
class Communicator::Account {
 public:
  Account(Communicator& owner, Purpose purpose)
      : owner_(owner), purpose_(static_cast<size_t>(purpose)), start_(MonotonicSeconds()) {}
  ~Account() { owner_.seconds_ += MonotonicSeconds() - start_; }
  /// Time since `start` was not the collective's.
  void Worked(double start) { start_ += MonotonicSeconds() - start; }
  void Sent(int64_t bytes) { owner_.traffic_.sent[purpose_] += bytes; }
  void Received(int64_t bytes) { owner_.traffic_.received[purpose_] += bytes; }
  void Exchanged(std::span<const int64_t> sent, std::span<const int64_t> received) {
    Sent(Sum(sent) - sent[static_cast<size_t>(owner_.rank_)]);
    Received(Sum(received) - received[static_cast<size_t>(owner_.rank_)]);
  }
  /// An all-gather of `bytes`, one part a rank.
  void Gathered(std::span<const int64_t> bytes) {
    const int64_t own = bytes[static_cast<size_t>(owner_.rank_)];
    Sent(own * (owner_.size_ - 1));
    Received(Sum(bytes) - own);
  }

 private:
  Communicator& owner_;
  size_t purpose_;
  double start_;
};

/// `work` whose time does not count as the collective's; none if it is none.
ArrivalWork Communicator::Timed(Account& account, const ArrivalWork& work) {
  if (!work) return {};
  return [&](std::span<const int64_t> arrived) {
    const double start = MonotonicSeconds();
    const bool any = work(arrived);
    account.Worked(start);
    return any;
  };
}

View Communicator::Scratch(int64_t elements, DataType type) {
  const int64_t bytes = elements * SizeOf(type);
  if (scratch_.bytes() < bytes) {
    const MemoryScope scope(device_, MemoryUse::kMessages);
    scratch_ = Buffer();
    scratch_ = device_.Allocate(bytes);
  }
  return scratch_.view(type).Slice(0, elements);
}

void Communicator::AllToAll(ConstView send, std::span<const int64_t> send_counts, View receive,
                            std::span<const int64_t> receive_counts, Purpose purpose) {
  CheckCounts(send_counts, size_, send, "all-to-all");
  CheckCounts(receive_counts, size_, receive, "all-to-all");
  Account account(*this, purpose);
  const auto outgoing = InBytes(send_counts, send.type);
  const auto incoming = InBytes(receive_counts, receive.type);
  AllToAllOnDevice(send, outgoing, receive, incoming, "all-to-all");
  account.Exchanged(outgoing, incoming);
}

void Communicator::AllToAllHost(std::span<const std::byte> send,
                                std::span<const int64_t> send_bytes, std::span<std::byte> receive,
                                std::span<const int64_t> receive_bytes, Purpose purpose) {
  CheckCounts(send_bytes, size_, AsView(send), "all-to-all");
  CheckCounts(receive_bytes, size_, AsView(receive), "all-to-all");
  Account account(*this, purpose);
  DoAllToAll(send.data(), send_bytes, receive.data(), receive_bytes, "all-to-all");
  account.Exchanged(send_bytes, receive_bytes);
}

void Communicator::AllGather(ConstView send, View receive, std::span<const int64_t> counts,
                             Purpose purpose, const ArrivalWork& work) {
  CheckCounts(counts, size_, receive, "all-gather");
  CheckOwnPart(counts, rank_, send.size);
  Account account(*this, purpose);
  const auto bytes = InBytes(counts, receive.type);
  AllGatherOnDevice(send, receive, bytes, Timed(account, work), "all-gather");
  account.Gathered(bytes);
}

void Communicator::AllGatherHost(std::span<const std::byte> send, std::span<std::byte> receive,
                                 std::span<const int64_t> bytes, Purpose purpose,
                                 const ArrivalWork& work) {
  CheckCounts(bytes, size_, AsView(receive), "all-gather");
  CheckOwnPart(bytes, rank_, std::ssize(send));
  Account account(*this, purpose);
  DoAllGather(send.data(), receive.data(), bytes, Timed(account, work), "all-gather");
  account.Gathered(bytes);
}

void Communicator::ReduceScatter(ConstView values, View receive, std::span<const int64_t> counts,
                                 double factor, Purpose purpose) {
  CheckCounts(counts, size_, values, "reduce-scatter");
  const int64_t own = counts[static_cast<size_t>(rank_)];
  const View parts = Scratch(own * size_, values.type);
  const std::vector<int64_t> incoming(static_cast<size_t>(size_), own);
  AllToAll(values, counts, parts, incoming, purpose);
  device_.SumParts(parts, factor, receive);
}

void Communicator::AllReduce(View values, double factor, Purpose purpose) {
  const auto counts = EvenParts(values.size, size_);
  int64_t offset = 0;
  for (int r = 0; r < rank_; ++r) offset += counts[static_cast<size_t>(r)];
  const int64_t own = counts[static_cast<size_t>(rank_)];
  // The sum goes where this rank's own part was, which its parts no longer need.
  const View sum = values.Slice(offset, own);
  ReduceScatter(values, sum, counts, factor, purpose);
  AllGather(sum, values, counts, purpose);
}

void Communicator::Broadcast(View values, int root, Purpose purpose) {
  Account account(*this, purpose);
  const int64_t bytes = values.size * SizeOf(values.type);
  BroadcastOnDevice(values, root, "broadcast");
  if (rank_ == root) {
    account.Sent(bytes * (size_ - 1));
  } else {
    account.Received(bytes);
  }
}

void Communicator::AllToAllOnDevice(ConstView send, std::span<const int64_t> send_bytes,
                                    View receive, std::span<const int64_t> receive_bytes,
                                    const char* what) {
  if (device_.host_visible()) {
    return DoAllToAll(Bytes(send), send_bytes, Bytes(receive), receive_bytes, what);
  }
  const ConstView sent = FirstBytes(send, Sum(send_bytes));
  const View received = FirstBytes(receive, Sum(receive_bytes));
  outgoing_.resize(static_cast<size_t>(sent.size));
  incoming_.resize(static_cast<size_t>(received.size));
  device_.CopyToHost(sent, outgoing_.data());
  DoAllToAll(outgoing_.data(), send_bytes, incoming_.data(), receive_bytes, what);
  device_.CopyFromHost(incoming_.data(), received);
}

void Communicator::AllGatherOnDevice(ConstView send, View receive, std::span<const int64_t> bytes,
                                     const ArrivalWork& work, const char* what) {
  if (device_.host_visible()) return DoAllGather(Bytes(send), Bytes(receive), bytes, work, what);
  const View received = FirstBytes(receive, Sum(bytes));
  incoming_.resize(static_cast<size_t>(received.size));
  std::byte* const own = incoming_.data() + Sum(bytes.first(static_cast<size_t>(rank_)));
  device_.CopyToHost(FirstBytes(send, bytes[static_cast<size_t>(rank_)]), own);
  DoAllGather(own, incoming_.data(), bytes, {}, what);
  device_.CopyFromHost(incoming_.data(), received);
}

void Communicator::BroadcastOnDevice(View values, int root, const char* what) {
  const int64_t bytes = values.size * SizeOf(values.type);
  if (device_.host_visible()) return DoBroadcast(Bytes(values), bytes, root, what);
  const View all = FirstBytes(values, bytes);
  incoming_.resize(static_cast<size_t>(bytes));
  if (rank_ == root) device_.CopyToHost(all, incoming_.data());
  DoBroadcast(incoming_.data(), bytes, root, what);
  if (rank_ != root) device_.CopyFromHost(incoming_.data(), all);
}

void Communicator::Barrier() {
  Account account(*this, Purpose::kControl);
  DoBarrier();
}

std::vector<double> Communicator::AllGatherHost(double value) {
  Account account(*this, Purpose::kControl);
  std::vector<double> values(static_cast<size_t>(size_));
  const std::vector<int64_t> bytes(values.size(), sizeof(double));
  DoAllGather(reinterpret_cast<const std::byte*>(&value),
              reinterpret_cast<std::byte*>(values.data()), bytes, {}, "all-gather of numbers");
  account.Gathered(bytes);
  return values;
}

std::vector<int64_t> Communicator::AllGatherHost(int64_t value) {
  Account account(*this, Purpose::kControl);
  std::vector<int64_t> values(static_cast<size_t>(size_));
  const std::vector<int64_t> bytes(values.size(), sizeof(int64_t));
  DoAllGather(reinterpret_cast<const std::byte*>(&value),
              reinterpret_cast<std::byte*>(values.data()), bytes, {}, "all-gather of counts");
  account.Gathered(bytes);
  return values;
}

std::vector<std::string> Communicator::AllGatherHost(const std::string& text) {
  const auto lengths = AllGatherHost(static_cast<int64_t>(text.size()));
  for (int r = 0; r < size_; ++r) CheckLength(lengths[static_cast<size_t>(r)], r);
  Account account(*this, Purpose::kControl);
  std::string all(static_cast<size_t>(Sum(lengths)), '\0');
  DoAllGather(reinterpret_cast<const std::byte*>(text.data()),
              reinterpret_cast<std::byte*>(all.data()), lengths, {}, "all-gather of texts");
  account.Gathered(lengths);
  std::vector<std::string> texts;
  size_t start = 0;
  for (const int64_t length : lengths) {
    texts.push_back(all.substr(start, static_cast<size_t>(length)));
    start += static_cast<size_t>(length);
  }
  return texts;
}

std::string Communicator::BroadcastHost(const std::string& text, int root) {
  // Only the root's length counts, but the others have to know it.
  const auto lengths = AllGatherHost(static_cast<int64_t>(rank_ == root ? text.size() : 0));
  Account account(*this, Purpose::kControl);
  const int64_t length = lengths[static_cast<size_t>(root)];
  CheckLength(length, root);
  std::string result = text;
  result.resize(static_cast<size_t>(length));
  DoBroadcast(reinterpret_cast<std::byte*>(result.data()), length, root, "broadcast of a text");
  if (rank_ == root) {
    account.Sent(length * (size_ - 1));
  } else {
    account.Received(length);
  }
  return result;
}

}  // namespace thinwire
