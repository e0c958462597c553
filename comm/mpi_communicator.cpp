// Ranks that are processes started by mpirun or srun. Every collective is made of messages from
// rank to rank that are polled, so that a rank can say whose data it misses, and stop waiting.
//
// In an all-gather, an all-to-all and a barrier every rank sends every other one message, even of
// zero bytes: both sides then always agree on sizes, and nobody is ever two collectives ahead.
// Beside the data, ranks send notes: that they make progress, wait for another rank, or give up.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <numeric>
#include <optional>
#include <set>
#include <thread>

#include "comm/backoff.h"
#include "comm/communicator.h"
#include "comm/failure.h"
#include "comm/mpi_wire.h"
#include "comm/process_watch.h"
#include "comm/rank_leases.h"

namespace thinwire {
namespace {

enum class Kind { kAllToAll, kAllGather, kBroadcast, kBarrier };

// Tags hold the number of the collective, modulo kSequences, and its kind.
constexpr int kKinds = 16;
constexpr int kSequences = (MpiWire::kMaxTag + 1) / kKinds;

}  // namespace

struct MpiSession::State {
  State(int& argc, char**& argv, const CommunicatorOptions& options);
  ~State();

  /// Called with an open transfer; does a little meanwhile, and returns whether it did.
  using Work = std::function<bool(const MpiWire::Transfer& transfer)>;
  /// Moves `sends` and `receives` at once; returns when all is done.
  void Exchange(std::span<const MessagePart> receives, std::span<const MessagePart> sends,
                Kind kind, const Place& place, const Work& work = {});
  void Barrier(const Place& place);
  /// The rank is between collectives, and not stuck.
  void Progress(int64_t step);
  /// Tells all others that this rank gives up, unless another one has done so.
  void GiveUp(const std::string& reason);
  [[noreturn]] void End(const std::string& message, int exit_code);
  void SetTimeout(double seconds);
  std::string Name(int r) const { return NameRanks({r}, hosts); }

  MpiWire wire;
  const int rank, size;
  std::vector<std::string> hosts;
  int machines = 1;
  std::function<int()> stop_signal;

 private:
  void Complete(MpiWire::Transfer& transfer, int tag, const Place& place, const Work& work);
  /// While nothing arrives: throws if that is hopeless.
  void CheckOthers(const MpiWire::Transfer& transfer, double since, int tag, const Place& place);
  void SpeakIfEnding(const std::vector<int>& missing, double waited, const Place& place);
  void Report(int waits_for);
  void ReadNotes();
  bool IsFirstToSpeak();

  std::unique_ptr<ProcessWatch> watch_;
  RankLeases leases_;
  double timeout_ = 0, report_interval_ = 0, reported_ = 0;
  bool waits_reported_ = false, spoke_ = false;
  int sequence_ = 0;
  int64_t step_ = 0;

  std::optional<std::string> failure_;  // why this rank gave up
  int failed_rank_ = -1;                // the lowest rank that said it gives up, this one excepted
  std::string failed_reason_;
  bool echo_ = false;           // that one was first
  std::optional<bool> speaks_;  // whether it is for this rank to tell the user
  int exceptions_ = std::uncaught_exceptions();
};

MpiSession::State::State(int& argc, char**& argv, const CommunicatorOptions& options)
    : wire(argc, argv), rank(wire.rank()), size(wire.size()), leases_(size) {
  SetTimeout(options.timeout_seconds);
  const std::vector<ProcessIdentity> identities = wire.GatherIdentities();
  const uint64_t own = identities[static_cast<size_t>(rank)].machine;
  std::set<uint64_t> seen;
  std::vector<ProcessWatch::Peer> peers;
  int first = size;  // of the ranks on this machine
  for (int r = 0; r < size; ++r) {
    const ProcessIdentity& identity = identities[static_cast<size_t>(r)];
    hosts.emplace_back(identity.host.data());
    seen.insert(identity.machine);
    if (identity.machine != own) continue;
    first = std::min(first, r);
    if (r != rank) peers.push_back({r, static_cast<pid_t>(identity.process)});
  }
  machines = static_cast<int>(seen.size());
  std::atomic<int>* spoken = wire.ShareWord(first);
  watch_ = std::make_unique<ProcessWatch>(std::move(peers), hosts, spoken);
}

MpiSession::State::~State() {
  try {
    if (failure_ || failed_rank_ >= 0 || std::uncaught_exceptions() > exceptions_) End("", 1);
    // MPI's own end waits for all ranks, too, but cannot say for whom.
    Barrier({"end of the run", step_});
    watch_.reset();
    wire.Finish();
  } catch (const Error& error) {
    End(error.what(), error.exit_code());
  }
}

void MpiSession::State::SetTimeout(double seconds) {
  timeout_ = seconds;
  report_interval_ = std::clamp(seconds / 8, 0.01, 5.0);
}

void MpiSession::State::Progress(int64_t step) {
  step_ = step;
  watch_->SetPlace("computation", step);
  // After a failure nothing may move: messages under way go to memory that is no more.
  if (failure_ || MonotonicSeconds() - reported_ < report_interval_) return;
  ReadNotes();
  Report(-1);
}

void MpiSession::State::Barrier(const Place& place) {
  std::vector<MessagePart> parts;
  for (int i = 1; i < size; ++i) parts.push_back({(rank + i) % size, nullptr, 0});
  Exchange(parts, parts, Kind::kBarrier, place);
}

void MpiSession::State::Exchange(std::span<const MessagePart> receives,
                                 std::span<const MessagePart> sends, Kind kind, const Place& place,
                                 const Work& work) {
  if (failure_) throw Error(*failure_, "");
  watch_->SetPlace(place.collective, place.step);
  const int tag = sequence_ * kKinds + static_cast<int>(kind);
  sequence_ = (sequence_ + 1) % kSequences;
  MpiWire::Transfer transfer(wire, tag);
  try {
    transfer.Receive(receives);
    transfer.Send(sends);
    Complete(transfer, tag, place, work);
    if (waits_reported_) Report(-1);
  } catch (const Error& error) {
    // Before the memory goes: who tells the user is settled while MPI may still write to it, and
    // what has not begun to arrive never will. Afterwards nothing here makes MPI progress.
    GiveUp(error.what());
    speaks_ = IsFirstToSpeak();
    transfer.Cancel();
    throw;
  }
  watch_->SetPlace("computation", place.step);
}

void MpiSession::State::Complete(MpiWire::Transfer& transfer, int tag, const Place& place,
                                 const Work& work) {
  const double start = MonotonicSeconds();
  Backoff backoff;
  std::vector<int> heard;
  std::optional<MessageProblem> problem;
  while (!transfer.complete()) {
    // Ranks that are about to end take the memory with them that would be read here.
    if (watch_->claimed()) throw Error(place.text() + ": another rank has ended the run", "");
    if (transfer.Poll(heard, problem)) {
      if (problem && problem->other_size) {
        throw DifferentCalls(place, Name(problem->rank), problem->text);
      }
      if (problem) {
        throw Error(fmt::format("{}: a message to or from {} failed: {}", place.text(),
                                Name(problem->rank), problem->text),
                    "see whether its host can be reached");
      }
      for (const int r : heard) leases_.Progressed(r, MonotonicSeconds());
      heard.clear();
      backoff.Reset();
      continue;
    }
    if (work && work(transfer)) continue;
    if (backoff.patient()) CheckOthers(transfer, start, tag, place);
    backoff.Pause();
  }
}

void MpiSession::State::CheckOthers(const MpiWire::Transfer& transfer, double since, int tag,
                                    const Place& place) {
  ReadNotes();
  if (failed_rank_ >= 0) throw RankGaveUp(place, Name(failed_rank_), failed_reason_);
  if (watch_->dead_rank() >= 0) throw EndedRanks(place, Name(watch_->dead_rank()));
  // A message of this very collective, but of another kind, is one that nobody will ever receive.
  const auto stray = wire.FindStray();
  if (stray && stray->tag != tag && stray->tag / kKinds == tag / kKinds) {
    throw DifferentCalls(place, Name(stray->rank), "is for another collective");
  }
  const std::vector<int> missing = transfer.Missing();
  const double now = MonotonicSeconds();
  SpeakIfEnding(missing, now - since, place);
  if (now - std::max(reported_, since) >= report_interval_) Report(missing[0]);
  std::set<int> silent;
  for (const int r : missing) {
    if (now - leases_.LastProgress(r, since) > timeout_) silent.insert(leases_.Blame(r));
  }
  if (!silent.empty()) {
    throw SilentRanks(place, NameRanks({silent.begin(), silent.end()}, hosts), timeout_);
  }
}

/// The ranks of other machines die unseen. If this rank is asked to end while it misses some of
/// them, their death may be why, and there is only a second to say so.
void MpiSession::State::SpeakIfEnding(const std::vector<int>& missing, double waited,
                                      const Place& place) {
  const bool ending = ProcessWatch::terminated() || (stop_signal && stop_signal() != 0);
  if (machines == 1 || !ending || spoke_ || waited < 0.3) return;
  spoke_ = true;
  // Not all at once: the lowest of those that are here.
  for (int r = 0; r < rank; ++r) {
    if (std::ranges::find(missing, r) == missing.end()) return;
  }
  SayLastWords(
      fmt::format("{}: asked to end while {} is missing", place.text(), NameRanks(missing, hosts)));
}

void MpiSession::State::Report(int waits_for) {
  reported_ = MonotonicSeconds();
  waits_reported_ = waits_for >= 0;
  Note note;
  note.kind = waits_reported_ ? Note::kWaits : Note::kProgress;
  note.waits_for = waits_for;
  for (int r = 0; r < size; ++r) {
    if (r != rank) wire.SendNote(r, note);
  }
}

void MpiSession::State::ReadNotes() {
  while (const auto note = wire.ReceiveNote()) {
    if (note->kind == Note::kProgress) {
      leases_.Progressed(note->sender, MonotonicSeconds());
    } else if (note->kind == Note::kWaits && note->waits_for >= 0 && note->waits_for < size) {
      leases_.Waits(note->sender, note->waits_for);
    } else if (note->kind == Note::kGivesUp) {
      if (!failure_) echo_ = true;
      if (failed_rank_ < 0 || note->sender < failed_rank_) {
        failed_rank_ = note->sender;
        failed_reason_ = note->text;
      }
    }
  }
}

void MpiSession::State::GiveUp(const std::string& reason) {
  if (failure_) return;
  try {
    ReadNotes();
    failure_ = reason;
    Note note;
    note.kind = Note::kGivesUp;
    note.text = reason;
    for (int r = 0; r < size && !echo_; ++r) {
      if (r != rank) wire.SendNote(r, note);
    }
  } catch (const Error&) {
    // The others will miss this rank.
    failure_ = reason;
  }
}

/// Of ranks that fail at the same moment the lowest speaks. On one machine whoever is first does,
/// for which they share a word of memory.
bool MpiSession::State::IsFirstToSpeak() {
  if (echo_) return false;
  if (machines == 1) return true;
  try {
    for (int i = 0; i < 40; ++i) {
      ReadNotes();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  } catch (const Error&) {
    return true;
  }
  return failed_rank_ < 0 || rank < failed_rank_;
}

void MpiSession::State::End(const std::string& message, int exit_code) {
  GiveUp(message.empty() ? "it ends the run" : message);
  if (!speaks_) speaks_ = IsFirstToSpeak();
  if (!*speaks_) {
    // The rank that speaks ends the job, this process too; unless it was killed before it could.
    for (int i = 0; i < 20 && !watch_->claimed(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
  if (watch_->Claim()) {
    if (!message.empty()) SayLastWords(message);
  } else {
    std::this_thread::sleep_for(std::chrono::seconds(2));
  }
  wire.Abort(exit_code);
}

namespace {

class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator(Device& device, MpiSession::State& state)
      : Communicator(device, state.rank, state.size), state_(state) {}

  const char* kind() const override { return "mpi"; }
  std::string description() const override {
    return fmt::format("{} rank{} over MPI on {} host{}", size(), size() == 1 ? "" : "s",
                       state_.machines, state_.machines == 1 ? "" : "s");
  }
  void Progress() override { state_.Progress(step()); }
  void Abort(const std::string& reason) override { state_.GiveUp(reason); }

 private:
  void DoAllToAll(const std::byte* send, std::span<const int64_t> send_bytes, std::byte* receive,
                  std::span<const int64_t> receive_bytes, const char* what) override {
    std::vector<MessagePart> sends = Parts(const_cast<std::byte*>(send), send_bytes, 1);
    std::vector<MessagePart> receives = Parts(receive, receive_bytes, size() - 1);
    CopyOwn(sends, receives);
    state_.Exchange(receives, sends, Kind::kAllToAll, {what, step()});
  }

  void DoAllGather(const std::byte* send, std::byte* receive, std::span<const int64_t> bytes,
                   const ArrivalWork& work, const char* what) override {
    const int64_t own = bytes[static_cast<size_t>(rank())];
    std::vector<MessagePart> sends;
    for (int i = 0; i < size(); ++i) {
      sends.push_back({(rank() + i) % size(), const_cast<std::byte*>(send), own});
    }
    std::vector<MessagePart> receives = Parts(receive, bytes, size() - 1);
    CopyOwn(sends, receives);
    std::vector<int64_t> arrived(bytes.size());
    arrived[static_cast<size_t>(rank())] = own;
    const auto work_on_arrived = [&](const MpiWire::Transfer& transfer) {
      transfer.Arrived(arrived);
      return work(arrived);
    };
    state_.Exchange(receives, sends, Kind::kAllGather, {what, step()},
                    work ? work_on_arrived : MpiSession::State::Work());
  }

  void DoBroadcast(std::byte* data, int64_t bytes, int root, const char* what) override {
    std::vector<MessagePart> to_others;
    for (int r = 0; r < size(); ++r) {
      if (r != root) to_others.push_back({r, data, bytes});
    }
    const MessagePart from_root = {root, data, bytes};
    if (rank() == root) {
      state_.Exchange({}, to_others, Kind::kBroadcast, {what, step()});
    } else {
      state_.Exchange({&from_root, 1}, {}, Kind::kBroadcast, {what, step()});
    }
  }

  void DoBarrier() override { state_.Barrier({"barrier", step()}); }

  /// Every rank's part, this rank's first and then `stride` further each time: what a rank sends
  /// first is what its receiver waits for first.
  std::vector<MessagePart> Parts(std::byte* data, std::span<const int64_t> bytes,
                                 int stride) const {
    std::vector<int64_t> starts(bytes.size());
    std::exclusive_scan(bytes.begin(), bytes.end(), starts.begin(), int64_t{0});
    std::vector<MessagePart> parts;
    for (int i = 0; i < size(); ++i) {
      const int r = (rank() + i * stride) % size();
      parts.push_back({r, data + starts[static_cast<size_t>(r)], bytes[static_cast<size_t>(r)]});
    }
    return parts;
  }

  /// Takes this rank's own parts, the first ones, off the lists.
  void CopyOwn(std::vector<MessagePart>& sends, std::vector<MessagePart>& receives) const {
    const MessagePart& from = sends.front();
    const MessagePart& to = receives.front();
    if (from.bytes != to.bytes) {
      throw Error(fmt::format("rank {} sends itself {} bytes, but expects {}", rank(), from.bytes,
                              to.bytes),
                  "");
    }
    if (to.bytes > 0 && to.data != from.data) {
      std::memcpy(to.data, from.data, static_cast<size_t>(to.bytes));
    }
    sends.erase(sends.begin());
    receives.erase(receives.begin());
  }

  MpiSession::State& state_;
};

}  // namespace

MpiSession::MpiSession(int& argc, char**& argv, const CommunicatorOptions& options)
    : state_(std::make_unique<State>(argc, argv, options)) {}
MpiSession::~MpiSession() = default;
int MpiSession::rank() const { return state_->rank; }
int MpiSession::size() const { return state_->size; }
void MpiSession::set_timeout(double seconds) { state_->SetTimeout(seconds); }
void MpiSession::set_stop_signal(std::function<int()> received) {
  state_->stop_signal = std::move(received);
}
std::unique_ptr<Communicator> MpiSession::Join(Device& device) {
  return std::make_unique<MpiCommunicator>(device, *state_);
}
void MpiSession::Abort(const std::string& message, int exit_code) {
  state_->End(message, exit_code);
}

}  // namespace thinwire
