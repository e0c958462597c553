// Exact Top-K in about one pass: a sample gives a magnitude that is likely a little below the k-th
// largest, one pass gathers the candidates above it, and the choice is made among those. Where the
// guess is wrong, or ties are too many to gather, counting digit by digit finds the k-th largest
// whatever the values are.
#include "kernels/cpu/top_k.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cassert>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/cpu/compression_input.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel.h"

namespace thinwire {
namespace {

constexpr int64_t kTask = 4096;  // elements
constexpr int64_t kSlack = 16;   // elements, behind what collect_large found
constexpr int64_t kSamples = 16384, kSampleRun = 16;
constexpr int64_t kDigitBits = 11, kBins = int64_t{1} << kDigitBits;

template <typename T>
class CpuTopK : public TopK {
  using Key = typename cpu::FlatKernels<T>::Key;

  /// Magnitudes as integers have the order of their numbers; all NaNs are one more than infinity.
  static constexpr Key kNaN = std::bit_cast<Key>(std::numeric_limits<T>::infinity()) + 1;
  static constexpr int kKeyBits = 8 * sizeof(T) - 1;

  static Key KeyOf(T value) {
    return std::min(static_cast<Key>(std::bit_cast<Key>(value) & std::numeric_limits<Key>::max()),
                    kNaN);
  }

  /// Elements with their indices, in rising order.
  struct Elements {
    const int32_t* indices;
    const T* values;
    int64_t count;
  };
  struct Scratch {
    std::array<int32_t, 2 * kTask + kSlack> indices;
    std::array<T, 2 * kTask + kSlack> values;
  };

  /// All keys above `key` are chosen, and of those at it the first `ties`.
  struct Cut {
    Key key;
    int64_t ties;
  };

 public:
  explicit CpuTopK(const TopKShape& shape) : shape_(shape) {
    int64_t task_size = kTask;  // so that the first piece opens a task
    for (const Range& range : shape_.ranges) {
      for (int64_t begin = range.begin; begin < range.end; begin += kTask) {
        const Range piece{begin, std::min(begin + kTask, range.end)};
        if (task_size + piece.size() > kTask) {
          first_piece_.push_back(pieces_.size());
          task_size = 0;
        }
        task_size += piece.size();
        elements_ += piece.size();
        pieces_.push_back(piece);
      }
    }
    tasks_ = static_cast<int64_t>(first_piece_.size());
    first_piece_.push_back(pieces_.size());
    assert(shape_.k <= elements_);
    capacity_ = std::min(elements_, 2 * shape_.k + 4 * kSamples);
    const size_t capacity = static_cast<size_t>(capacity_), tasks = static_cast<size_t>(tasks_);
    indices_.resize(capacity);
    values_.resize(capacity);
    keys_.reserve(capacity);
    found_.resize(tasks);
    outputs_.resize(tasks);
    counts_.resize(static_cast<size_t>(parts_ * kBins));
  }

  void Select(const CompressionInput& input, ConstView state, int state_factor, View indices,
              View values) override {
    const cpu::CollectArguments<T> v = {.input = cpu::ArgumentsOf<T>(input),
                                        .state = state_factor == 0 ? nullptr : state.as<T>(),
                                        .state_factor = static_cast<T>(state_factor)};
    std::optional<Cut> ties;
    if (GatherCandidates(v, ties)) {
      Write(CutOfCandidates(), indices, values, [&](int64_t task, Scratch&) {
        const Found& found = found_[static_cast<size_t>(task)];
        return Elements{indices_.data() + found.offset, values_.data() + found.offset, found.count};
      });
    } else {
      const Cut cut = ties ? *ties : CutByDigits(v);
      Write(cut, indices, values,
            [&](int64_t task, Scratch& scratch) { return Collect(v, cut.key, task, scratch); });
    }
  }

 private:
  struct Found {
    int64_t offset, count;
  };
  /// Of a task: how many of its elements lie above and at the cut, how many of the latter it may
  /// take, and where its output begins.
  struct Output {
    int64_t above, ties, taken_ties, begin;
  };

  Elements Collect(const cpu::CollectArguments<T>& v, Key threshold, int64_t task,
                   Scratch& scratch) const {
    return {scratch.indices.data(), scratch.values.data(),
            CollectAfter(v, threshold, task, 0, scratch)};
  }

  /// Appends the task's elements to the `count` in the scratch, kTask at most; how many there are
  /// then.
  int64_t CollectAfter(const cpu::CollectArguments<T>& v, Key threshold, int64_t task,
                       int64_t count, Scratch& scratch) const {
    const size_t t = static_cast<size_t>(task);
    for (size_t p = first_piece_[t]; p < first_piece_[t + 1]; ++p) {
      count += cpu::Isa().flat<T>().collect_large(v, threshold, pieces_[p].begin, pieces_[p].end,
                                                  scratch.indices.data() + count,
                                                  scratch.values.data() + count);
    }
    return count;
  }

  /// Gathers at least k candidates, all that lie above some magnitude. Where that fails since too
  /// many lie at the magnitude itself, `ties` may be the answer.
  bool GatherCandidates(const cpu::CollectArguments<T>& v, std::optional<Cut>& ties) {
    if (elements_ <= capacity_) {
      least_ = 0;
      largest_ = kNaN;
      return Gather(v, 0) == elements_;
    }
    SampleKeys(v);
    const double expected = static_cast<double>(shape_.k) / static_cast<double>(elements_) *
                            static_cast<double>(keys_.size());
    for (const double deviations : {4.0, 12.0}) {
      const auto rank = static_cast<size_t>(expected + deviations * std::sqrt(expected) + 8);
      if (rank >= keys_.size()) return false;
      const auto nth = keys_.begin() + static_cast<std::ptrdiff_t>(rank);
      std::nth_element(keys_.begin(), nth, keys_.end(), std::greater<>());
      const Key guess = *nth;
      least_ = guess;
      largest_ = *std::max_element(keys_.begin(), nth + 1);
      const int64_t count = Gather(v, guess);
      if (count < shape_.k) continue;
      if (count <= capacity_) return true;
      const int64_t above = Gather(v, guess + 1);
      if (above < shape_.k) ties = Cut{guess, shape_.k - above};
      return shape_.k <= above && above <= capacity_;
    }
    return false;
  }

  /// Keys of short runs, evenly spread.
  void SampleKeys(const cpu::CollectArguments<T>& v) {
    keys_.clear();
    Scratch scratch;
    const int64_t step = elements_ / (kSamples / kSampleRun);
    int64_t passed = 0, next = 0;  // elements before this piece, and before the next run
    for (const Range& piece : pieces_) {
      for (; next < passed + piece.size(); next += step) {
        const int64_t begin = piece.begin + next - passed;
        const int64_t count =
            cpu::Isa().flat<T>().collect_large(v, 0, begin, std::min(begin + kSampleRun, piece.end),
                                               scratch.indices.data(), scratch.values.data());
        for (int64_t i = 0; i < count; ++i) {
          keys_.push_back(KeyOf(scratch.values[static_cast<size_t>(i)]));
        }
      }
      passed += piece.size();
    }
  }

  /// Gathers what is at least `threshold`, and returns how many they are, or more than capacity_.
  int64_t Gather(const cpu::CollectArguments<T>& v, Key threshold) {
    std::atomic<int64_t> gathered{0};
    ForEachPart([&](int64_t, int64_t first, int64_t end) {
      Scratch scratch;
      int64_t count = 0, waiting = first;  // elements in the scratch, and the first one's task
      for (int64_t task = first; task < end; ++task) {
        if (gathered.load(std::memory_order_relaxed) > capacity_) return;
        const int64_t before =
            std::exchange(count, CollectAfter(v, threshold, task, count, scratch));
        found_[static_cast<size_t>(task)] = {before, count - before};
        if (count <= kTask && task + 1 < end) continue;
        // Many at once, since processors are slow to agree on a number.
        const int64_t offset = gathered.fetch_add(count, std::memory_order_relaxed);
        if (offset + count > capacity_) return;
        std::copy_n(scratch.indices.data(), count, indices_.data() + offset);
        std::copy_n(scratch.values.data(), count, values_.data() + offset);
        for (; waiting <= task; ++waiting) found_[static_cast<size_t>(waiting)].offset += offset;
        count = 0;
      }
    });
    return gathered;
  }

  /// Calls function(part, begin, end) on the parts of the tasks: a part's are always the same
  /// thread's, whose cache has what it left there.
  template <typename Function>
  void ForEachPart(const Function& function) {
    cpu::ParallelChunks(parts_, [&](int64_t part) {
      function(part, part * tasks_ / parts_, (part + 1) * tasks_ / parts_);
    });
  }

  /// Calls function(key) for the candidates that the tasks [begin, end) have found.
  template <typename Function>
  void ForEachKey(int64_t begin, int64_t end, const Function& function) const {
    for (int64_t task = begin; task < end; ++task) {
      const Found& found = found_[static_cast<size_t>(task)];
      const T* const values = values_.data() + found.offset;
      for (int64_t i = 0; i < found.count; ++i) function(KeyOf(values[i]));
    }
  }

  /// Bins of equal width between the guess and the sample's largest find the keys among which the
  /// k-th largest is.
  Cut CutOfCandidates() {
    int shift = 0;
    while ((largest_ - least_) >> shift >= kBins) ++shift;
    const auto bin_of = [&](Key key) { return (std::min(key, largest_) - least_) >> shift; };
    std::fill(counts_.begin(), counts_.end(), 0);
    ForEachPart([&](int64_t part, int64_t begin, int64_t end) {
      int64_t* counts = counts_.data() + part * kBins;
      ForEachKey(begin, end, [&](Key key) { ++counts[bin_of(key)]; });
    });
    AddCounts();
    const Place place = Descend(counts_.data(), shape_.k);
    const Key bin = static_cast<Key>(place.bin);
    keys_.resize(static_cast<size_t>(counts_[static_cast<size_t>(bin)]));
    // Where each part's begin; the first part's count has become the sum of all.
    std::vector<Key*> to(static_cast<size_t>(parts_));
    Key* next = keys_.data();
    for (size_t part = to.size() - 1; part > 0; --part) {
      to[part] = next;
      next += counts_[part * static_cast<size_t>(kBins) + static_cast<size_t>(bin)];
    }
    to[0] = next;
    ForEachPart([&](int64_t part, int64_t begin, int64_t end) {
      Key* key_to = to[static_cast<size_t>(part)];
      ForEachKey(begin, end, [&](Key key) {
        if (bin_of(key) == bin) *key_to++ = key;
      });
    });
    const auto nth = keys_.begin() + static_cast<std::ptrdiff_t>(place.rank - 1);
    std::nth_element(keys_.begin(), nth, keys_.end(), std::greater<>());
    return {*nth,
            place.rank - std::count_if(keys_.begin(), nth, [&](Key key) { return key > *nth; })};
  }

  struct Place {
    int64_t bin, rank;
  };
  /// The bin of the element that is number `rank` from the top, and its number within the bin.
  static Place Descend(const int64_t* counts, int64_t rank) {
    int64_t bin = kBins - 1;
    for (; counts[bin] < rank; --bin) rank -= counts[bin];
    return {bin, rank};
  }

  /// Adds all parts' counts to the first one's.
  void AddCounts() {
    for (size_t i = static_cast<size_t>(kBins); i < counts_.size(); ++i) {
      counts_[i % static_cast<size_t>(kBins)] += counts_[i];
    }
  }

  /// The k-th largest key, from its highest digit to its lowest.
  Cut CutByDigits(const cpu::CollectArguments<T>& v) {
    Key prefix = 0;
    int64_t rank = shape_.k;
    for (int64_t shift = kKeyBits; shift > 0;) {
      const int64_t above = shift, width = std::min(kDigitBits, shift);
      shift -= width;
      std::fill(counts_.begin(), counts_.end(), 0);
      cpu::ParallelChunks(parts_, [&](int64_t part) {
        int64_t* counts = counts_.data() + part * kBins;
        Scratch scratch;
        for (int64_t task = part * tasks_ / parts_; task < (part + 1) * tasks_ / parts_; ++task) {
          const Key least = above == kKeyBits ? 0 : prefix << above;
          const Elements found = Collect(v, least, task, scratch);
          for (int64_t i = 0; i < found.count; ++i) {
            const Key key = KeyOf(found.values[i]);
            if (key >> above == prefix) ++counts[(key >> shift) & ((Key{1} << width) - 1)];
          }
        }
      });
      AddCounts();
      const Place place = Descend(counts_.data(), rank);
      prefix = (prefix << width) | static_cast<Key>(place.bin);
      rank = place.rank;
    }
    return {prefix, rank};
  }

  /// Writes what the cut chooses of the elements that elements_of(task, scratch) gives.
  template <typename ElementsOf>
  void Write(const Cut& cut, View indices, View values, const ElementsOf& elements_of) {
    cpu::ParallelChunks(tasks_, [&](int64_t task) {
      Scratch scratch;
      const Elements found = elements_of(task, scratch);
      Output output{};
      for (int64_t i = 0; i < found.count; ++i) {
        const Key key = KeyOf(found.values[i]);
        output.above += key > cut.key;
        output.ties += key == cut.key;
      }
      outputs_[static_cast<size_t>(task)] = output;
    });
    int64_t written = 0, ties_left = cut.ties;
    for (Output& output : outputs_) {
      output.begin = written;
      output.taken_ties = std::min(output.ties, ties_left);
      written += output.above + output.taken_ties;
      ties_left -= output.taken_ties;
    }
    assert(written == shape_.k);
    cpu::ParallelChunks(tasks_, [&](int64_t task) {
      const Output output = outputs_[static_cast<size_t>(task)];
      const int64_t end = output.begin + output.above + output.taken_ties;
      if (output.begin == end) return;
      Scratch scratch;
      const Elements found = elements_of(task, scratch);
      int64_t to = output.begin;
      const auto write_if = [&](int64_t i, bool chosen) {
        indices.as<int32_t>()[to] = found.indices[i];
        values.as<T>()[to] = found.values[i];
        to += chosen;
      };
      if (output.taken_ties == 0 || output.taken_ties == output.ties) {
        const Key least = output.taken_ties == 0 ? cut.key + 1 : cut.key;
        int64_t i = 0;
        while (to < end) {
          write_if(i, KeyOf(found.values[i]) >= least);
          ++i;
        }
        return;
      }
      int64_t ties = output.taken_ties;
      int64_t i = 0;
      while (to < end) {
        const Key key = KeyOf(found.values[i]);
        const bool tie = key == cut.key && ties > 0;
        ties -= tie;
        write_if(i, key > cut.key || tie);
        ++i;
      }
    });
  }

  TopKShape shape_;
  std::vector<Range> pieces_;        // the ranges, cut to kTask elements at most
  std::vector<size_t> first_piece_;  // of each task, and the end
  int64_t tasks_ = 0, elements_ = 0;
  const int64_t parts_ = cpu::ThreadCount();  // of the tasks, each with its own counts

  // Candidates, in the order in which tasks came; of each task where they are. None lies below
  // least_; few above largest_.
  int64_t capacity_ = 0;
  std::vector<int32_t> indices_;
  std::vector<T> values_;
  std::vector<Found> found_;
  Key least_ = 0, largest_ = 0;

  std::vector<Key> keys_;
  std::vector<Output> outputs_;
  std::vector<int64_t> counts_;  // [parts_, kBins]
};

}  // namespace

std::unique_ptr<TopK> MakeCpuTopK(const TopKShape& shape) {
  if (shape.type == DataType::kFloat64) return std::make_unique<CpuTopK<double>>(shape);
  return std::make_unique<CpuTopK<float>>(shape);
}

}  // namespace thinwire
