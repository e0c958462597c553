#include "comm/mpi_wire.h"

#include <fmt/format.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <new>
#include <set>
#include <string>

#include "kernels/error.h"

namespace thinwire {
namespace {

/// Longer messages are cut into pieces: MPI counts in int, and each piece that arrives is a sign
/// that the transfer goes on.
constexpr int64_t kMaxPieceBytes = int64_t{1} << 20;
/// A piece can be worked on while the next ones arrive, so there should be many; but not of a size
/// for which what a message costs would show.
constexpr int64_t kMinPieceBytes = int64_t{1} << 15;
constexpr int64_t kPieces = 32;
/// Up to this size, a piece and its header, Open MPI sends over TCP without a handshake. On a thin
/// wire the answer to a handshake queues behind what the peer is sending itself, and a collective
/// takes up to 1.8 times as long.
constexpr int64_t kEagerBytes = kMaxPieceBytes + 1024;

/// A note as it is sent; its length says how much of `text` is used.
struct PackedNote {
  int32_t kind;
  int32_t waits_for;
  std::array<char, 1000> text;
};
constexpr int kNoteHead = offsetof(PackedNote, text);

std::string ErrorText(int code) {
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  return text.data();
}

void Check(int code, const char* call) {
  if (code != MPI_SUCCESS) throw Error(fmt::format("{} failed: {}", call, ErrorText(code)), "");
}
#define CHECK_MPI(call, ...) Check(call(__VA_ARGS__), #call)

}  // namespace

struct MpiWire::Handles {
  MPI_Comm data = MPI_COMM_NULL, notes = MPI_COMM_NULL, group = MPI_COMM_NULL;
  MPI_Win window = MPI_WIN_NULL;
  PackedNote incoming{};
  MPI_Request receive = MPI_REQUEST_NULL;
  // One outgoing note a rank and, for the last one of all, another.
  std::vector<PackedNote> outgoing, last;
  std::vector<MPI_Request> sends, last_sends;
};

struct MpiWire::Transfer::Requests {
  struct Piece {
    int rank;
    int64_t bytes;  // to receive, or -1 if it is sent
  };
  std::vector<MPI_Request> requests;
  std::vector<Piece> pieces;
  size_t open = 0;
  std::vector<int> done;
  std::vector<MPI_Status> statuses;

  template <typename Start>
  void Add(const MessagePart& part, bool receive, const Start& start) {
    // Sender and receiver have to cut alike.
    const int64_t piece_bytes = std::clamp(part.bytes / kPieces, kMinPieceBytes, kMaxPieceBytes);
    int64_t offset = 0;
    do {
      const int64_t bytes = std::min(part.bytes - offset, piece_bytes);
      MPI_Request request = MPI_REQUEST_NULL;
      start(part.data + offset, static_cast<int>(bytes), &request);
      requests.push_back(request);
      pieces.push_back({part.rank, receive ? bytes : -1});
      ++open;
      offset += bytes;
    } while (offset < part.bytes);
  }

  static std::optional<MessageProblem> Examine(const Piece& piece, int code,
                                               const MPI_Status& status) {
    if (code == MPI_ERR_TRUNCATE) {
      return MessageProblem{piece.rank, true, fmt::format("has more than {} bytes", piece.bytes)};
    }
    if (code != MPI_SUCCESS) return MessageProblem{piece.rank, false, ErrorText(code)};
    if (piece.bytes < 0) return std::nullopt;
    int bytes = 0;
    CHECK_MPI(MPI_Get_count, &status, MPI_BYTE, &bytes);
    if (bytes == piece.bytes) return std::nullopt;
    return MessageProblem{piece.rank, true,
                          fmt::format("has {} bytes, not {}", bytes, piece.bytes)};
  }
};

MpiWire::Transfer::Transfer(MpiWire& wire, int tag)
    : wire_(wire), tag_(tag), requests_(std::make_unique<Requests>()) {}
MpiWire::Transfer::~Transfer() = default;

void MpiWire::Transfer::Receive(std::span<const MessagePart> parts) {
  for (const MessagePart& part : parts) {
    requests_->Add(part, true, [&](std::byte* data, int bytes, MPI_Request* request) {
      CHECK_MPI(MPI_Irecv, data, bytes, MPI_BYTE, part.rank, tag_, wire_.handles_->data, request);
    });
  }
}

void MpiWire::Transfer::Send(std::span<const MessagePart> parts) {
  for (const MessagePart& part : parts) {
    requests_->Add(part, false, [&](std::byte* data, int bytes, MPI_Request* request) {
      CHECK_MPI(MPI_Isend, data, bytes, MPI_BYTE, part.rank, tag_, wire_.handles_->data, request);
    });
  }
}

bool MpiWire::Transfer::Poll(std::vector<int>& heard, std::optional<MessageProblem>& problem) {
  Requests& r = *requests_;
  r.done.resize(r.requests.size());
  r.statuses.resize(r.requests.size());
  int count = 0;
  const int code = MPI_Testsome(static_cast<int>(r.requests.size()), r.requests.data(), &count,
                                r.done.data(), r.statuses.data());
  if (code != MPI_ERR_IN_STATUS) Check(code, "MPI_Testsome");
  if (count == MPI_UNDEFINED) return false;
  for (int i = 0; i < count; ++i) {
    const auto at = static_cast<size_t>(i);
    const Requests::Piece& piece = r.pieces[static_cast<size_t>(r.done[at])];
    // Only then is the error of each of them filled in.
    const int piece_code = code == MPI_ERR_IN_STATUS ? r.statuses[at].MPI_ERROR : MPI_SUCCESS;
    if (!problem) problem = Requests::Examine(piece, piece_code, r.statuses[at]);
    if (piece.bytes >= 0) heard.push_back(piece.rank);
  }
  r.open -= static_cast<size_t>(count);
  return count > 0;
}

bool MpiWire::Transfer::complete() const { return requests_->open == 0; }

void MpiWire::Transfer::Arrived(std::span<int64_t> bytes) const {
  int rank = -1;  // whose pieces these are; they follow each other
  bool missing = false;
  for (size_t i = 0; i < requests_->pieces.size(); ++i) {
    const Requests::Piece& piece = requests_->pieces[i];
    if (piece.bytes < 0) continue;
    int64_t& arrived = bytes[static_cast<size_t>(piece.rank)];
    if (piece.rank != rank) {
      rank = piece.rank;
      arrived = 0;
      missing = false;
    }
    missing = missing || requests_->requests[i] != MPI_REQUEST_NULL;
    if (!missing) arrived += piece.bytes;
  }
}

std::vector<int> MpiWire::Transfer::Missing() const {
  std::set<int> senders, receivers;
  for (size_t i = 0; i < requests_->requests.size(); ++i) {
    if (requests_->requests[i] == MPI_REQUEST_NULL) continue;
    const Requests::Piece& piece = requests_->pieces[i];
    (piece.bytes < 0 ? receivers : senders).insert(piece.rank);
  }
  const std::set<int>& missing = senders.empty() ? receivers : senders;
  return {missing.begin(), missing.end()};
}

void MpiWire::Transfer::Cancel() {
  for (size_t i = 0; i < requests_->requests.size(); ++i) {
    MPI_Request& request = requests_->requests[i];
    if (request != MPI_REQUEST_NULL && requests_->pieces[i].bytes >= 0) MPI_Cancel(&request);
  }
}

MpiWire::MpiWire(int& argc, char**& argv) : handles_(std::make_unique<Handles>()) {
  Handles& h = *handles_;
  int level = 0;
  // A setting of the user's own goes first.
  setenv("OMPI_MCA_btl_tcp_eager_limit", std::to_string(kEagerBytes).c_str(), 0);
  CHECK_MPI(MPI_Init_thread, &argc, &argv, MPI_THREAD_FUNNELED, &level);
  CHECK_MPI(MPI_Comm_set_errhandler, MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  for (MPI_Comm* communicator : {&h.data, &h.notes}) {
    CHECK_MPI(MPI_Comm_dup, MPI_COMM_WORLD, communicator);
    CHECK_MPI(MPI_Comm_set_errhandler, *communicator, MPI_ERRORS_RETURN);
  }
  CHECK_MPI(MPI_Comm_rank, h.data, &rank_);
  CHECK_MPI(MPI_Comm_size, h.data, &size_);
  const auto ranks = static_cast<size_t>(size_);
  h.outgoing.resize(ranks);
  h.last.resize(ranks);
  h.sends.resize(ranks, MPI_REQUEST_NULL);
  h.last_sends.resize(ranks, MPI_REQUEST_NULL);
  CHECK_MPI(MPI_Irecv, &h.incoming, sizeof h.incoming, MPI_BYTE, MPI_ANY_SOURCE, 0, h.notes,
            &h.receive);
}

MpiWire::~MpiWire() = default;

void MpiWire::Finish() {
  Handles& h = *handles_;
  CHECK_MPI(MPI_Cancel, &h.receive);
  CHECK_MPI(MPI_Wait, &h.receive, MPI_STATUS_IGNORE);
  CHECK_MPI(MPI_Win_free, &h.window);
  for (MPI_Comm* communicator : {&h.group, &h.notes, &h.data}) {
    CHECK_MPI(MPI_Comm_free, communicator);
  }
  CHECK_MPI(MPI_Finalize);
}

void MpiWire::Abort(int exit_code) {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  _exit(exit_code);
}

std::vector<ProcessIdentity> MpiWire::GatherIdentities() {
  const ProcessIdentity own = OwnIdentity();
  std::vector<ProcessIdentity> all(static_cast<size_t>(size_));
  CHECK_MPI(MPI_Allgather, &own, sizeof own, MPI_BYTE, all.data(), sizeof own, MPI_BYTE,
            handles_->data);
  for (ProcessIdentity& identity : all) identity.host.back() = '\0';
  return all;
}

std::atomic<int>* MpiWire::ShareWord(int group) {
  using Word = std::atomic<int>;
  static_assert(Word::is_always_lock_free);
  Handles& h = *handles_;
  // First by what MPI says can be shared, then by what the caller says.
  MPI_Comm machine = MPI_COMM_NULL;
  CHECK_MPI(MPI_Comm_split_type, h.data, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine);
  CHECK_MPI(MPI_Comm_split, machine, group, rank_, &h.group);
  CHECK_MPI(MPI_Comm_free, &machine);
  CHECK_MPI(MPI_Comm_set_errhandler, h.group, MPI_ERRORS_RETURN);
  int place = 0, unit = 0;
  CHECK_MPI(MPI_Comm_rank, h.group, &place);
  void* memory = nullptr;
  MPI_Aint bytes = place == 0 ? sizeof(Word) : 0;
  CHECK_MPI(MPI_Win_allocate_shared, bytes, 1, MPI_INFO_NULL, h.group, &memory, &h.window);
  CHECK_MPI(MPI_Win_shared_query, h.window, 0, &bytes, &unit, &memory);
  if (place == 0) new (memory) Word(0);
  CHECK_MPI(MPI_Barrier, h.data);
  return static_cast<Word*>(memory);
}

void MpiWire::SendNote(int rank, const Note& note) {
  // A rank that does not read its notes gets no further ones, but for the last.
  const bool is_last = note.kind == Note::kGivesUp;
  const auto at = static_cast<size_t>(rank);
  MPI_Request& request = (is_last ? handles_->last_sends : handles_->sends)[at];
  int free = 0;
  CHECK_MPI(MPI_Test, &request, &free, MPI_STATUS_IGNORE);
  if (free == 0) return;
  PackedNote& packed = (is_last ? handles_->last : handles_->outgoing)[at];
  packed.kind = note.kind;
  packed.waits_for = note.waits_for;
  const auto length = static_cast<int>(note.text.copy(packed.text.data(), packed.text.size()));
  CHECK_MPI(MPI_Isend, &packed, kNoteHead + length, MPI_BYTE, rank, 0, handles_->notes, &request);
}

std::optional<Note> MpiWire::ReceiveNote() {
  Handles& h = *handles_;
  for (;;) {
    int arrived = 0, bytes = 0;
    MPI_Status status;
    CHECK_MPI(MPI_Test, &h.receive, &arrived, &status);
    if (arrived == 0) return std::nullopt;
    CHECK_MPI(MPI_Get_count, &status, MPI_BYTE, &bytes);
    std::optional<Note> note;
    if (bytes >= kNoteHead) {
      note = {status.MPI_SOURCE, h.incoming.kind, h.incoming.waits_for,
              std::string(h.incoming.text.data(), static_cast<size_t>(bytes - kNoteHead))};
    }
    CHECK_MPI(MPI_Irecv, &h.incoming, sizeof h.incoming, MPI_BYTE, MPI_ANY_SOURCE, 0, h.notes,
              &h.receive);
    if (note) return note;
  }
}

std::optional<MpiWire::Stray> MpiWire::FindStray() const {
  int found = 0;
  MPI_Status status;
  CHECK_MPI(MPI_Iprobe, MPI_ANY_SOURCE, MPI_ANY_TAG, handles_->data, &found, &status);
  if (found == 0) return std::nullopt;
  return Stray{status.MPI_SOURCE, status.MPI_TAG};
}

}  // namespace thinwire
