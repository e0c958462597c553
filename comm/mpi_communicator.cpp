// Ranks that are processes started by mpirun or srun. Every collective is made of point-to-point
// messages that are polled, so that a rank can say whose data it misses, and stop waiting.
//
// In an all-gather, an all-to-all and a barrier every rank sends every other one message, even of
// zero bytes: both sides then always agree on sizes, and nobody is ever two collectives ahead.
// Beside the data, ranks report on a communicator of its own: that they make progress, that they
// wait for another rank, or that they give up (`Note`).
#include <fmt/format.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <exception>
#include <numeric>
#include <optional>
#include <set>
#include <thread>

#include "comm/backoff.h"
#include "comm/communicator.h"
#include "comm/failure.h"
#include "comm/process_identity.h"
#include "comm/process_watch.h"
#include "comm/rank_leases.h"

namespace thinwire {
namespace {

/// Longer messages are cut into pieces: MPI counts in int, and each piece that arrives is a sign
/// that the transfer goes on.
constexpr int64_t kPieceBytes = int64_t{1} << 22;

enum class Kind { kAllToAll, kAllGather, kBroadcast, kBarrier };

/// Tags hold the number of the collective, modulo this, and its kind.
constexpr int kSequences = 2048;
constexpr int kKinds = 16;  // 2048 * 16 tags are what MPI guarantees

/// A range of memory to send to, or receive from, a rank.
struct Part {
  int rank;
  std::byte* data;
  int64_t bytes;
};

/// A message beside the data. Its length says how much of `text` is used.
struct Note {
  enum Kind : int32_t { kProgress, kWaits, kGivesUp };
  int32_t kind;
  int32_t waits_for;
  std::array<char, 1000> text;
};
constexpr int kNoteHead = offsetof(Note, text);

void Check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  throw Error(fmt::format("{} failed: {}", call, text.data()), "");
}
#define CHECK_MPI(call, ...) Check(call(__VA_ARGS__), #call)

}  // namespace

struct MpiSession::State {
  State(int& argc, char**& argv, const CommunicatorOptions& options);
  ~State();

  /// Moves `sends` and `receives` at once; returns when all is done.
  void Exchange(std::span<const Part> receives, std::span<const Part> sends, Kind kind,
                const Place& place);
  void Barrier(const Place& place);
  /// The rank is between collectives, and not stuck.
  void Progress(int64_t step);
  /// Tells all others that this rank gives up, if nobody has yet.
  void GiveUp(const std::string& reason);
  [[noreturn]] void End(const std::string& message, int exit_code);
  void SetTimeout(double seconds);
  std::string Name(int r) const { return NameRanks({r}, hosts); }

  int rank = 0, size = 1;
  std::vector<std::string> hosts;
  int machines = 1;
  std::function<int()> stop_signal;

 private:
  struct Piece {
    int rank;
    int64_t bytes;  // to receive, or -1 if it is sent
  };
  /// The messages of one collective that are under way.
  struct Transfer {
    std::vector<MPI_Request> requests;
    std::vector<Piece> pieces;
  };

  void ShareClaim(const std::vector<ProcessIdentity>& identities);
  void Post(Transfer& transfer, std::span<const Part> parts, bool receive, int tag);
  void Complete(Transfer& transfer, int tag, const Place& place);
  void CheckPiece(const Piece& piece, const MPI_Status& status, const Place& place) const;
  std::vector<int> Missing(const Transfer& transfer) const;
  /// While nothing arrives: throws if that is hopeless.
  void CheckOthers(const Transfer& transfer, double since, int tag, const Place& place);
  void CheckStray(int tag, const Place& place) const;
  void SpeakIfEnding(const std::vector<int>& missing, double since, const Place& place);
  void Report(int waits_for);
  void ReadNotes();
  bool IsFirstToSpeak();

  MPI_Comm data_ = MPI_COMM_NULL, notes_ = MPI_COMM_NULL, machine_ = MPI_COMM_NULL;
  MPI_Win claim_window_ = MPI_WIN_NULL;
  std::unique_ptr<ProcessWatch> watch_;
  std::optional<RankLeases> leases_;
  double timeout_, report_interval_ = 1, reported_ = 0;
  bool waits_reported_ = false, spoke_ = false;
  int sequence_ = 0;
  int64_t step_ = 0;

  Note incoming_{};
  MPI_Request note_request_ = MPI_REQUEST_NULL;
  // One buffer and request a rank and use: a report to a rank that reads none is left out.
  std::vector<Note> reports_;
  std::vector<MPI_Request> report_requests_;
  Note last_note_{};

  std::optional<std::string> failure_;  // why this rank gave up
  int failed_rank_ = -1;                // the lowest rank that said it gives up, this one excepted
  std::string failed_reason_;
  bool echo_ = false;  // that rank was first
  std::optional<bool> speaks_;
  int exceptions_ = std::uncaught_exceptions();
};

MpiSession::State::State(int& argc, char**& argv, const CommunicatorOptions& options) {
  int level = 0;
  CHECK_MPI(MPI_Init_thread, &argc, &argv, MPI_THREAD_FUNNELED, &level);
  CHECK_MPI(MPI_Comm_dup, MPI_COMM_WORLD, &data_);
  CHECK_MPI(MPI_Comm_dup, MPI_COMM_WORLD, &notes_);
  for (const MPI_Comm communicator : {MPI_COMM_WORLD, data_, notes_}) {
    CHECK_MPI(MPI_Comm_set_errhandler, communicator, MPI_ERRORS_RETURN);
  }
  CHECK_MPI(MPI_Comm_rank, data_, &rank);
  CHECK_MPI(MPI_Comm_size, data_, &size);
  leases_.emplace(size);
  reports_.resize(static_cast<size_t>(size));
  report_requests_.resize(static_cast<size_t>(size), MPI_REQUEST_NULL);
  SetTimeout(options.timeout_seconds);

  const ProcessIdentity own = OwnIdentity();
  std::vector<ProcessIdentity> identities(static_cast<size_t>(size));
  CHECK_MPI(MPI_Allgather, &own, sizeof own, MPI_BYTE, identities.data(), sizeof own, MPI_BYTE,
            data_);
  std::set<uint64_t> seen;
  for (ProcessIdentity& identity : identities) {
    identity.host.back() = '\0';
    hosts.emplace_back(identity.host.data());
    seen.insert(identity.machine);
  }
  machines = static_cast<int>(seen.size());
  ShareClaim(identities);
  CHECK_MPI(MPI_Irecv, &incoming_, sizeof incoming_, MPI_BYTE, MPI_ANY_SOURCE, 0, notes_,
            &note_request_);
}

void MpiSession::State::ShareClaim(const std::vector<ProcessIdentity>& identities) {
  const uint64_t own = identities[static_cast<size_t>(rank)].machine;
  std::vector<ProcessWatch::Peer> peers;
  int first = -1;
  for (int r = 0; r < size; ++r) {
    const ProcessIdentity& other = identities[static_cast<size_t>(r)];
    if (other.machine != own) continue;
    if (first < 0) first = r;
    if (r != rank) peers.push_back({r, static_cast<pid_t>(other.process)});
  }
  MPI_Comm shared = MPI_COMM_NULL;
  CHECK_MPI(MPI_Comm_split_type, data_, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &shared);
  CHECK_MPI(MPI_Comm_split, shared, first, rank, &machine_);
  CHECK_MPI(MPI_Comm_free, &shared);
  using Claim = std::atomic<int>;
  static_assert(Claim::is_always_lock_free);
  int machine_rank = 0, unit = 0;
  CHECK_MPI(MPI_Comm_rank, machine_, &machine_rank);
  void* memory = nullptr;
  MPI_Aint bytes = machine_rank == 0 ? sizeof(Claim) : 0;
  CHECK_MPI(MPI_Win_allocate_shared, bytes, 1, MPI_INFO_NULL, machine_, &memory, &claim_window_);
  CHECK_MPI(MPI_Win_shared_query, claim_window_, 0, &bytes, &unit, &memory);
  Claim* claim = static_cast<Claim*>(memory);
  if (machine_rank == 0) new (claim) Claim(0);
  CHECK_MPI(MPI_Barrier, data_);
  watch_ = std::make_unique<ProcessWatch>(std::move(peers), hosts, claim);
}

MpiSession::State::~State() {
  try {
    if (failure_ || failed_rank_ >= 0 || std::uncaught_exceptions() > exceptions_) End("", 1);
    // MPI's own end waits for all ranks, too, but cannot say for whom.
    Barrier({"end of the run", step_});
    watch_.reset();
    CHECK_MPI(MPI_Cancel, &note_request_);
    CHECK_MPI(MPI_Wait, &note_request_, MPI_STATUS_IGNORE);
    CHECK_MPI(MPI_Win_free, &claim_window_);
    for (MPI_Comm* communicator : {&machine_, &notes_, &data_}) {
      CHECK_MPI(MPI_Comm_free, communicator);
    }
    CHECK_MPI(MPI_Finalize);
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
  const double now = MonotonicSeconds();
  // After a failure nothing may move: messages under way go to memory that is no more.
  if (now - reported_ < report_interval_ || failure_ || failed_rank_ >= 0) return;
  ReadNotes();
  Report(-1);
}

void MpiSession::State::Barrier(const Place& place) {
  std::vector<Part> parts;
  for (int i = 1; i < size; ++i) parts.push_back({(rank + i) % size, nullptr, 0});
  Exchange(parts, parts, Kind::kBarrier, place);
}

void MpiSession::State::Exchange(std::span<const Part> receives, std::span<const Part> sends,
                                 Kind kind, const Place& place) {
  if (failure_) throw Error(*failure_, "");
  watch_->SetPlace(place.collective, place.step);
  const int tag = sequence_ * kKinds + static_cast<int>(kind);
  sequence_ = (sequence_ + 1) % kSequences;
  Transfer transfer;
  try {
    if (failed_rank_ >= 0) throw RankGaveUp(place, Name(failed_rank_), failed_reason_);
    Post(transfer, receives, true, tag);
    Post(transfer, sends, false, tag);
    Complete(transfer, tag, place);
    if (waits_reported_) Report(-1);
  } catch (const Error& error) {
    // Before the memory goes: who tells the user is settled while MPI may still write to it, and
    // what has not begun to arrive never will. Afterwards this process makes no progress in MPI.
    GiveUp(error.what());
    speaks_ = IsFirstToSpeak();
    for (size_t i = 0; i < transfer.requests.size(); ++i) {
      if (transfer.requests[i] != MPI_REQUEST_NULL && transfer.pieces[i].bytes >= 0) {
        MPI_Cancel(&transfer.requests[i]);
      }
    }
    throw;
  }
  watch_->SetPlace("computation", place.step);
}

void MpiSession::State::Post(Transfer& transfer, std::span<const Part> parts, bool receive,
                             int tag) {
  for (const Part& part : parts) {
    int64_t start = 0;
    do {
      const int64_t bytes = std::min(part.bytes - start, kPieceBytes);
      transfer.requests.push_back(MPI_REQUEST_NULL);
      transfer.pieces.push_back({part.rank, receive ? bytes : -1});
      MPI_Request* request = &transfer.requests.back();
      if (receive) {
        CHECK_MPI(MPI_Irecv, part.data + start, static_cast<int>(bytes), MPI_BYTE, part.rank, tag,
                  data_, request);
      } else {
        CHECK_MPI(MPI_Isend, part.data + start, static_cast<int>(bytes), MPI_BYTE, part.rank, tag,
                  data_, request);
      }
      start += bytes;
    } while (start < part.bytes);
  }
}

void MpiSession::State::Complete(Transfer& transfer, int tag, const Place& place) {
  const auto count = static_cast<int>(transfer.requests.size());
  std::vector<int> done(transfer.requests.size());
  std::vector<MPI_Status> statuses(transfer.requests.size());
  const double start = MonotonicSeconds();
  Backoff backoff;
  for (int open = count; open > 0;) {
    int completed = 0;
    const int code =
        MPI_Testsome(count, transfer.requests.data(), &completed, done.data(), statuses.data());
    if (code != MPI_ERR_IN_STATUS) Check(code, "MPI_Testsome");
    for (int i = 0; i < completed; ++i) {
      const Piece& piece = transfer.pieces[static_cast<size_t>(done[static_cast<size_t>(i)])];
      MPI_Status& status = statuses[static_cast<size_t>(i)];
      if (code != MPI_ERR_IN_STATUS) status.MPI_ERROR = MPI_SUCCESS;
      CheckPiece(piece, status, place);
      leases_->Progressed(piece.rank, MonotonicSeconds());
    }
    open -= completed;
    if (completed > 0) {
      backoff.Reset();
      continue;
    }
    if (backoff.patient()) CheckOthers(transfer, start, tag, place);
    backoff.Pause();
  }
}

void MpiSession::State::CheckPiece(const Piece& piece, const MPI_Status& status,
                                   const Place& place) const {
  if (status.MPI_ERROR == MPI_ERR_TRUNCATE) {
    throw DifferentCalls(place, Name(piece.rank),
                         fmt::format("has more than {} bytes", piece.bytes));
  }
  if (status.MPI_ERROR != MPI_SUCCESS) {
    try {
      Check(status.MPI_ERROR, piece.bytes < 0 ? "sending" : "receiving");
    } catch (const Error& error) {
      throw Error(fmt::format("{}: with {}, {}", place.text(), Name(piece.rank), error.what()), "");
    }
  }
  if (piece.bytes < 0) return;
  int bytes = 0;
  CHECK_MPI(MPI_Get_count, &status, MPI_BYTE, &bytes);
  if (bytes != piece.bytes) {
    throw DifferentCalls(place, Name(piece.rank),
                         fmt::format("has {} bytes, not {}", bytes, piece.bytes));
  }
}

std::vector<int> MpiSession::State::Missing(const Transfer& transfer) const {
  std::set<int> senders, receivers;
  for (size_t i = 0; i < transfer.requests.size(); ++i) {
    if (transfer.requests[i] == MPI_REQUEST_NULL) continue;
    (transfer.pieces[i].bytes < 0 ? receivers : senders).insert(transfer.pieces[i].rank);
  }
  const std::set<int>& missing = senders.empty() ? receivers : senders;
  return {missing.begin(), missing.end()};
}

void MpiSession::State::CheckOthers(const Transfer& transfer, double since, int tag,
                                    const Place& place) {
  ReadNotes();
  if (failed_rank_ >= 0) throw RankGaveUp(place, Name(failed_rank_), failed_reason_);
  if (watch_->dead_rank() >= 0) throw EndedRanks(place, Name(watch_->dead_rank()));
  CheckStray(tag, place);
  const std::vector<int> missing = Missing(transfer);
  const double now = MonotonicSeconds();
  SpeakIfEnding(missing, now - since, place);
  if (now - reported_ >= report_interval_ && now - since >= report_interval_) Report(missing[0]);
  std::set<int> silent;
  for (const int r : missing) {
    if (now - leases_->LastProgress(r, since) > timeout_) silent.insert(leases_->Blame(r));
  }
  if (!silent.empty()) {
    throw SilentRanks(place, NameRanks({silent.begin(), silent.end()}, hosts), timeout_);
  }
}

/// A message of this very collective, but of another kind, is one that nobody will ever receive.
void MpiSession::State::CheckStray(int tag, const Place& place) const {
  int found = 0;
  MPI_Status status;
  CHECK_MPI(MPI_Iprobe, MPI_ANY_SOURCE, MPI_ANY_TAG, data_, &found, &status);
  if (found != 0 && status.MPI_TAG != tag && status.MPI_TAG / kKinds == tag / kKinds) {
    throw DifferentCalls(place, Name(status.MPI_SOURCE), "is for another collective");
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
  if (watch_->Claim()) {
    SayLastWords(fmt::format("{}: asked to end while {} is missing", place.text(),
                             NameRanks(missing, hosts)));
  }
}

void MpiSession::State::Report(int waits_for) {
  reported_ = MonotonicSeconds();
  waits_reported_ = waits_for >= 0;
  for (int r = 0; r < size; ++r) {
    if (r == rank) continue;
    MPI_Request& request = report_requests_[static_cast<size_t>(r)];
    int free = 0;
    CHECK_MPI(MPI_Test, &request, &free, MPI_STATUS_IGNORE);
    if (free == 0) continue;
    Note& note = reports_[static_cast<size_t>(r)];
    note.kind = waits_for < 0 ? Note::kProgress : Note::kWaits;
    note.waits_for = waits_for;
    CHECK_MPI(MPI_Isend, &note, kNoteHead, MPI_BYTE, r, 0, notes_, &request);
  }
}

void MpiSession::State::ReadNotes() {
  for (;;) {
    int arrived = 0, bytes = 0;
    MPI_Status status;
    CHECK_MPI(MPI_Test, &note_request_, &arrived, &status);
    if (arrived == 0) return;
    CHECK_MPI(MPI_Get_count, &status, MPI_BYTE, &bytes);
    const int sender = status.MPI_SOURCE;
    if (bytes >= kNoteHead && incoming_.kind == Note::kProgress) {
      leases_->Progressed(sender, MonotonicSeconds());
    } else if (bytes >= kNoteHead && incoming_.kind == Note::kWaits) {
      if (incoming_.waits_for >= 0 && incoming_.waits_for < size) {
        leases_->Waits(sender, incoming_.waits_for);
      }
    } else if (bytes >= kNoteHead && incoming_.kind == Note::kGivesUp) {
      if (!failure_) echo_ = true;
      if (failed_rank_ < 0 || sender < failed_rank_) {
        failed_rank_ = sender;
        failed_reason_.assign(incoming_.text.data(), static_cast<size_t>(bytes - kNoteHead));
      }
    }
    CHECK_MPI(MPI_Irecv, &incoming_, sizeof incoming_, MPI_BYTE, MPI_ANY_SOURCE, 0, notes_,
              &note_request_);
  }
}

void MpiSession::State::GiveUp(const std::string& reason) {
  if (failure_) return;
  failure_ = reason;
  try {
    ReadNotes();
    if (failed_rank_ >= 0) echo_ = true;
    if (echo_) return;  // the others have heard it from that rank
    last_note_.kind = Note::kGivesUp;
    last_note_.waits_for = -1;
    const size_t length = reason.copy(last_note_.text.data(), last_note_.text.size());
    for (int r = 0; r < size; ++r) {
      if (r == rank) continue;
      MPI_Request request;
      CHECK_MPI(MPI_Isend, &last_note_, kNoteHead + static_cast<int>(length), MPI_BYTE, r, 0,
                notes_, &request);
      CHECK_MPI(MPI_Request_free, &request);
    }
  } catch (const Error&) {
    // They will find out by themselves.
  }
}

/// Of ranks that fail at the same moment the lowest speaks. On one machine whoever is first does,
/// for which they share memory.
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
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  _exit(exit_code);
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
    std::vector<Part> sends = Parts(const_cast<std::byte*>(send), send_bytes, 1);
    std::vector<Part> receives = Parts(receive, receive_bytes, size() - 1);
    CopyOwn(sends, receives);
    state_.Exchange(receives, sends, Kind::kAllToAll, {what, step()});
  }

  void DoAllGather(const std::byte* send, std::byte* receive, std::span<const int64_t> bytes,
                   const char* what) override {
    const int64_t own = bytes[static_cast<size_t>(rank())];
    std::vector<Part> sends;
    for (int i = 0; i < size(); ++i) {
      sends.push_back({(rank() + i) % size(), const_cast<std::byte*>(send), own});
    }
    std::vector<Part> receives = Parts(receive, bytes, size() - 1);
    CopyOwn(sends, receives);
    state_.Exchange(receives, sends, Kind::kAllGather, {what, step()});
  }

  void DoBroadcast(std::byte* data, int64_t bytes, int root, const char* what) override {
    std::vector<Part> parts;
    for (int r = 0; r < size(); ++r) {
      if (r != root) parts.push_back({r, data, bytes});
    }
    const Part from_root = {root, data, bytes};
    if (rank() == root) {
      state_.Exchange({}, parts, Kind::kBroadcast, {what, step()});
    } else {
      state_.Exchange({&from_root, 1}, {}, Kind::kBroadcast, {what, step()});
    }
  }

  void DoBarrier() override { state_.Barrier({"barrier", step()}); }

  /// Every rank's part, this rank's first and then `stride` further each time: what a rank sends
  /// first is what its receiver waits for first.
  std::vector<Part> Parts(std::byte* data, std::span<const int64_t> bytes, int stride) const {
    std::vector<int64_t> starts(bytes.size());
    std::exclusive_scan(bytes.begin(), bytes.end(), starts.begin(), int64_t{0});
    std::vector<Part> parts;
    for (int i = 0; i < size(); ++i) {
      const int r = (rank() + i * stride) % size();
      parts.push_back({r, data + starts[static_cast<size_t>(r)], bytes[static_cast<size_t>(r)]});
    }
    return parts;
  }

  /// Takes this rank's own parts, the first ones, off the lists.
  void CopyOwn(std::vector<Part>& sends, std::vector<Part>& receives) const {
    const Part& from = sends.front();
    const Part& to = receives.front();
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
