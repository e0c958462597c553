// How ranks talk: collectives on device memory, in queue order, that count what they send.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/device.h"

namespace thinwire {

/// What bytes are sent for; they are counted apart.
enum class Purpose : uint8_t {
  kUplink,       // workers' messages to the servers
  kDownlink,     // servers' messages to the workers
  kState,        // error averaging, running statistics, checkpoints
  kControl,      // sizes, scales' sums, agreement on stopping
  kMeasurement,  // what is only logged: losses, norms, evaluation
};
inline constexpr int kPurposes = 5;

/// Bytes that this rank put on the wire and took from it; what it tells itself does not count.
struct Traffic {
  std::array<int64_t, kPurposes> sent{}, received{};
  int64_t total_sent() const;
  int64_t total_received() const;
};

/// What a rank can do while its all-gather is under way: called now and then with how many bytes of
/// each rank's part have arrived, its own included. Does a little of what that allows, and returns
/// whether there was anything to do.
using ArrivalWork = std::function<bool(std::span<const int64_t> arrived)>;

struct CommunicatorOptions {
  /// Longest that others wait for a rank that shows no progress: that does not arrive at their
  /// collective, and calls neither SetStep nor Progress. Also the longest that a mebibyte may take.
  double timeout_seconds = 300;
};

/// One rank's end. All ranks call the same collectives in the same order; one thread a rank. Counts
/// are in elements of the views' type, and have to fit the views (Error). Every result is the same,
/// bit for bit, for every implementation, and each rank's copy of a common result is identical.
///
/// If a rank fails, ends or makes no progress for the timeout, all other ranks' collectives throw
/// an Error that names rank, host, collective and step. Nothing can be sent afterwards.
class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// "alone", "threads", "mpi".
  virtual const char* kind() const = 0;
  /// For people: "8 ranks over MPI on 2 hosts".
  virtual std::string description() const = 0;
  /// Whether collectives of a SideWork go on while the device does other work. They are in one
  /// order with all others.
  virtual bool overlaps() const { return false; }

  /// Rank r sends send_counts[q] elements to each rank q, its own included, from consecutive places
  /// of `send`; `receive` is filled in rank order. receive_counts has to be right.
  void AllToAll(ConstView send, std::span<const int64_t> send_counts, View receive,
                std::span<const int64_t> receive_counts, Purpose purpose);
  /// Rank r contributes counts[r] elements; everyone gets all, in rank order. `send` may be this
  /// rank's own place in `receive`. `work` is for where messages take time and the host sees them
  /// arrive; elsewhere it is never called, and nowhere until all is done.
  void AllGather(ConstView send, View receive, std::span<const int64_t> counts, Purpose purpose,
                 const ArrivalWork& work = {});
  /// Rank r receives, in its place, the sum over ranks of range r of `values` (counts[r] elements,
  /// consecutive), times `factor`: float64 sums in rank order, rounded once.
  void ReduceScatter(ConstView values, View receive, std::span<const int64_t> counts, double factor,
                     Purpose purpose);
  /// values = factor * sum over ranks, everywhere. A reduce-scatter and an all-gather: each rank
  /// sends 2 (n - 1) / n of the vector, as a ring does.
  void AllReduce(View values, double factor, Purpose purpose);
  void Broadcast(View values, int root, Purpose purpose);
  void Barrier();

  // The same for host memory.
  void AllToAllHost(std::span<const std::byte> send, std::span<const int64_t> send_bytes,
                    std::span<std::byte> receive, std::span<const int64_t> receive_bytes,
                    Purpose purpose);
  void AllGatherHost(std::span<const std::byte> send, std::span<std::byte> receive,
                     std::span<const int64_t> bytes, Purpose purpose, const ArrivalWork& work = {});
  /// Single values, as control messages.
  std::vector<double> AllGatherHost(double value);
  std::vector<int64_t> AllGatherHost(int64_t value);
  /// Strings of any length, one a rank.
  std::vector<std::string> AllGatherHost(const std::string& text);
  std::string BroadcastHost(const std::string& text, int root);

  /// Where the run is, for messages; also tells the others that this rank is making progress.
  void SetStep(int64_t step) {
    step_ = step;
    Progress();
  }
  int64_t step() const { return step_; }
  /// To be called now and then during long work between collectives.
  virtual void Progress() {}

  const Traffic& traffic() const { return traffic_; }
  void RestoreTraffic(const Traffic& traffic) { traffic_ = traffic; }
  /// Seconds spent in collectives so far, waiting included, but not what was done meanwhile.
  double seconds() const { return seconds_; }

  /// Tells the other ranks that this one gives up: their collectives throw. Does not block.
  virtual void Abort(const std::string& reason) = 0;

 protected:
  Communicator(Device& device, int rank, int size) : device_(device), rank_(rank), size_(size) {}

  // On device memory, in bytes. As they are, they call those below, on copies in host memory where
  // the host does not see the device's.
  virtual void AllToAllOnDevice(ConstView send, std::span<const int64_t> send_bytes, View receive,
                                std::span<const int64_t> receive_bytes, const char* what);
  virtual void AllGatherOnDevice(ConstView send, View receive, std::span<const int64_t> bytes,
                                 const ArrivalWork& work, const char* what);
  virtual void BroadcastOnDevice(View values, int root, const char* what);

  // Bytes in host memory; `what` names the collective for messages. An implementation moves
  // everything itself, its own share included.
  virtual void DoAllToAll(const std::byte* send, std::span<const int64_t> send_bytes,
                          std::byte* receive, std::span<const int64_t> receive_bytes,
                          const char* what) = 0;
  virtual void DoAllGather(const std::byte* send, std::byte* receive,
                           std::span<const int64_t> bytes, const ArrivalWork& work,
                           const char* what) = 0;
  virtual void DoBroadcast(std::byte* data, int64_t bytes, int root, const char* what) = 0;
  virtual void DoBarrier() = 0;

  Device& device_;

 private:
  class Account;
  static ArrivalWork Timed(Account& account, const ArrivalWork& work);
  View Scratch(int64_t elements, DataType type);

  int rank_, size_;
  int64_t step_ = 0;
  Traffic traffic_;
  double seconds_ = 0;
  Buffer scratch_;
  std::vector<std::byte> outgoing_, incoming_;  // copies of device memory
};

/// One rank alone: every collective is a copy.
std::unique_ptr<Communicator> MakeSingleCommunicator(Device& device);

/// Ranks that are threads of one process.
class ThreadGroup {
 public:
  explicit ThreadGroup(int size, const CommunicatorOptions& options = {});
  ~ThreadGroup();
  int size() const { return size_; }
  /// Rank `rank`'s end, made on the thread that will use it; the group must outlive it.
  std::unique_ptr<Communicator> Join(int rank, Device& device);
  /// Runs `body(rank)` on `size` threads and waits for all. If some throw, the others are released;
  /// rethrows the first cause, not the echoes of it.
  ///
  /// A thread that still shows no progress for the timeout after another has failed or finished
  /// cannot be ended. It is left behind, and Run throws. Should it ever wake, its communicator is
  /// still there and throws; but whatever else `body` refers to has to live as long: let it own
  /// that (shared_ptr), or end the program soon.
  void Run(const std::function<void(int rank)>& body);

  struct State;

 private:
  int size_;
  std::shared_ptr<State> state_;
};

/// Whether this process was started by mpirun, srun or the like as one of several.
bool StartedByMpi();

/// MPI for the life of the object; the program makes at most one, in main, and before it starts to
/// handle signals. Its end waits for all ranks; after a failure, or while an exception passes, it
/// ends the job instead.
class MpiSession {
 public:
  /// @throws Error if the program was built without MPI.
  MpiSession(int& argc, char**& argv, const CommunicatorOptions& options = {});
  ~MpiSession();
  int rank() const;
  int size() const;
  /// As CommunicatorOptions::timeout_seconds, once the settings are known.
  void set_timeout(double seconds);
  /// Who else handles SIGTERM (returns the signal that came, or 0), if the program installs a
  /// handler of its own after this object. Without one the session notes SIGTERM itself, so that
  /// a rank which is about to be killed because another died can still say so.
  void set_stop_signal(std::function<int()> received);
  std::unique_ptr<Communicator> Join(Device& device);
  /// Ends the whole job with this exit code, on all ranks, without waiting for anyone. `message`,
  /// if any, is printed once ("thinwire: message"), however many ranks fail at the same time: every
  /// rank calls this with the message that it has, and prints none itself.
  [[noreturn]] void Abort(const std::string& message, int exit_code);

  struct State;

 private:
  std::unique_ptr<State> state_;
};

/// If each rank's device is a GPU of its own, a communicator that moves device memory by NCCL, and
/// all else by `host`; otherwise `host` itself. All ranks call this. A collective that does not
/// finish within the timeout is aborted, and the next one throws.
/// @throws Error if NCCL does not start.
std::unique_ptr<Communicator> WithNccl(std::unique_ptr<Communicator> host, Device& device,
                                       const CommunicatorOptions& options = {});

}  // namespace thinwire
