// Reverse-mode differentiation of scalar float64 code: the truth for hand-written gradients.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace thinwire {

/// Records scalar operations and their derivatives, then runs them backwards.
class Tape {
 public:
  using Scalar = uint32_t;

  Scalar Constant(double value) { return Push(value, 0, 0, 0, 0); }
  Scalar Add(Scalar a, Scalar b) { return Push(value(a) + value(b), a, 1, b, 1); }
  Scalar Multiply(Scalar a, Scalar b) {
    return Push(value(a) * value(b), a, value(b), b, value(a));
  }
  Scalar Scale(Scalar a, double factor) { return Push(factor * value(a), a, factor, 0, 0); }
  Scalar AddConstant(Scalar a, double term) { return Push(value(a) + term, a, 1, 0, 0); }
  Scalar Relu(Scalar a) { return value(a) > 0 ? Push(value(a), a, 1, 0, 0) : Constant(0); }
  Scalar InverseSquareRoot(Scalar a) {
    const double root = std::sqrt(value(a));
    return Push(1 / root, a, -0.5 / (root * value(a)), 0, 0);
  }
  Scalar Exp(Scalar a) { return Push(std::exp(value(a)), a, std::exp(value(a)), 0, 0); }
  Scalar Log(Scalar a) { return Push(std::log(value(a)), a, 1 / value(a), 0, 0); }

  double value(Scalar a) const { return nodes_[a].value; }

  /// Derivatives of `result` by every scalar.
  std::vector<double> Gradient(Scalar result) const {
    std::vector<double> gradient(nodes_.size(), 0.0);
    gradient[result] = 1;
    for (size_t i = result + size_t{1}; i-- > 0;) {
      const Node& node = nodes_[i];
      gradient[node.a] += gradient[i] * node.by_a;
      gradient[node.b] += gradient[i] * node.by_b;
    }
    return gradient;
  }

 private:
  struct Node {
    double value, by_a, by_b;
    Scalar a, b;
  };

  Scalar Push(double value, Scalar a, double by_a, Scalar b, double by_b) {
    nodes_.push_back({value, by_a, by_b, a, b});
    return static_cast<Scalar>(nodes_.size() - 1);
  }

  std::vector<Node> nodes_;
};

}  // namespace thinwire
