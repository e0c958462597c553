// The few calls of MPI that the communicator over it is made of, without MPI's header: messages
// that are polled, notes beside them, and a word of memory that the ranks of a machine share.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/process_identity.h"

namespace thinwire {

/// A range of memory to send to, or receive from, a rank.
struct MessagePart {
  int rank;
  std::byte* data;
  int64_t bytes;
};

/// A message that came otherwise than expected.
struct MessageProblem {
  int rank;
  bool other_size;   // than the receiver expects, who may be the one that is wrong
  std::string text;  // "has 12 bytes, not 16"
};

/// A short message beside the data, which a rank reads whenever it looks.
struct Note {
  enum Kind : int32_t { kProgress, kWaits, kGivesUp };
  int sender = -1;  // filled in by the receiver
  int32_t kind = kProgress;
  int32_t waits_for = -1;
  std::string text;
};

/// MPI itself. All calls throw Error if MPI reports one; none is fatal.
class MpiWire {
 public:
  /// Messages that are under way together.
  class Transfer {
   public:
    Transfer(MpiWire& wire, int tag);
    ~Transfer();
    /// Starts messages; one of zero bytes is a message, too. The memory has to stay until the
    /// transfer is complete or MPI is not called any more.
    void Receive(std::span<const MessagePart> parts);
    void Send(std::span<const MessagePart> parts);
    /// Whether pieces of messages arrived or left since the last call. Appends their senders to
    /// `heard`.
    bool Poll(std::vector<int>& heard, std::optional<MessageProblem>& problem);
    bool complete() const;
    /// Sets, by rank, how many of its first bytes are here; of ranks that send nothing not at all.
    void Arrived(std::span<int64_t> bytes) const;
    /// The ranks from which something is missing; if nothing is, those that did not take theirs.
    std::vector<int> Missing() const;
    /// Receives nothing that has not begun to arrive.
    void Cancel();

   private:
    struct Requests;
    MpiWire& wire_;
    const int tag_;
    std::unique_ptr<Requests> requests_;
  };

  /// Initialises MPI.
  MpiWire(int& argc, char**& argv);
  ~MpiWire();
  /// Ends MPI, once all ranks do.
  void Finish();
  /// Ends all ranks.
  [[noreturn]] void Abort(int exit_code);

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// Largest tag that every MPI has.
  static constexpr int kMaxTag = 32767;

  /// Every rank's own.
  std::vector<ProcessIdentity> GatherIdentities();
  /// A zero that all ranks with the same `group` share. They have to run on one machine.
  std::atomic<int>* ShareWord(int group);

  void SendNote(int rank, const Note& note);
  std::optional<Note> ReceiveNote();
  /// The sender and tag of a message that has arrived and that no Receive has asked for.
  struct Stray {
    int rank, tag;
  };
  std::optional<Stray> FindStray() const;

 private:
  struct Handles;
  int rank_ = 0, size_ = 1;
  std::unique_ptr<Handles> handles_;
};

}  // namespace thinwire
