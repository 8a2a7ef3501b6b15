// A CUDA device that is not there. README.md, beside this file, says what it can show and what it cannot.
//
// A tensor "on cuda:0" lies in the host's memory. Whatever is asked of it, torch's CPU kernels compute: the operation
// is called again with the same memory labelled as the CPU's, and what comes out is labelled as CUDA's. Three things
// are not the CPU's: tensors on two devices are refused, what makes the host wait for the device is counted and can be
// forbidden, and a copy that nobody has waited for has not arrived.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace {

using at::Tensor;
using c10::IValue;

// What lives until the process ends is never destroyed: tensors may outlive this library's own end.

// Pinned memory: the host's, from which and to which the device copies while the host goes on

std::mutex pinned_lock;
auto& pinned_ranges = *new std::map<uintptr_t, uintptr_t>;      // first byte -> the byte after the last

struct PinnedAllocator final : c10::Allocator {
  static void release(void* memory) {
    if (!memory) return;
    {
      std::lock_guard<std::mutex> held(pinned_lock);
      pinned_ranges.erase(reinterpret_cast<uintptr_t>(memory));
    }
    c10::GetDefaultCPUAllocator()->raw_deleter()(memory);
  }
  c10::DataPtr allocate(size_t bytes) override {
    bytes = std::max<size_t>(bytes, 1);
    void* memory = c10::GetDefaultCPUAllocator()->raw_allocate(bytes);
    const auto first = reinterpret_cast<uintptr_t>(memory);
    std::lock_guard<std::mutex> held(pinned_lock);
    pinned_ranges[first] = first + bytes;
    return {memory, memory, &release, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }
};
auto& pinned_allocator = *new PinnedAllocator;

bool is_pinned(const void* memory) {
  const auto at = reinterpret_cast<uintptr_t>(memory);
  std::lock_guard<std::mutex> held(pinned_lock);
  const auto after = pinned_ranges.upper_bound(at);
  return after != pinned_ranges.begin() && at < std::prev(after)->second;
}

// Waits, and the copies that are under way until somebody waits

enum class OnWait : int { goes_on, warns, raises };     // as torch.cuda.set_sync_debug_mode counts them

struct Transfer {
  long number;
  Tensor host;          // the pinned side
  Tensor contents;      // what is to arrive there, or what lay there when it was sent
  bool to_host;
};

std::mutex transfer_lock;       // the backward pass has a thread of its own
auto& under_way = *new std::deque<Transfer>;
auto& waits = *new std::map<std::string, long>;
long transfers_begun = 0, pageable_copies = 0;
std::atomic<OnWait> on_wait{OnWait::goes_on};

void begin_transfer(const Tensor& host, Tensor contents, bool to_host) {
  if (to_host)      // floats are NaN until it arrives, whole numbers -1, truth values False
    std::memset(host.mutable_data_ptr(), host.scalar_type() == at::kBool ? 0 : 0xFF, host.nbytes());
  std::lock_guard<std::mutex> held(transfer_lock);
  under_way.push_back({++transfers_begun, host, std::move(contents), to_host});
}

void arrive(long up_to) {
  std::vector<Transfer> arrived;      // tensors let go under a lock could wait for Python, and Python for the lock
  {
    std::lock_guard<std::mutex> held(transfer_lock);
    while (!under_way.empty() && under_way.front().number <= up_to) {
      arrived.push_back(std::move(under_way.front()));
      under_way.pop_front();
    }
  }
  for (const auto& transfer : arrived) {
    const auto& [number, host, contents, to_host] = transfer;
    if (to_host) host.copy_(contents);
    else TORCH_CHECK(!std::memcmp(host.const_data_ptr(), contents.const_data_ptr(), host.nbytes()),
                     "pretended CUDA: a pinned buffer was written to while its copy to the device was under way");
  }
}

void wait_for_device(const std::string& why) {
  arrive(transfers_begun);
  {
    std::lock_guard<std::mutex> held(transfer_lock);
    ++waits[why];
  }
  TORCH_CHECK(on_wait != OnWait::raises, "called a synchronizing CUDA operation (", why, ")");
  if (on_wait == OnWait::warns) TORCH_WARN("called a synchronizing CUDA operation (", why, ")");
}

// One piece of memory under two labels: a storage on CUDA holds the CPU's storage that a kernel made, and for the next
// kernel a storage on the CPU holds that one. The latter is taken off again: all views share one storage on CUDA.

std::atomic<size_t> bytes_in_use{0}, most_bytes_in_use{0}, bytes_in_all{size_t{16} << 30};

void drop_cuda_label(void* held) {
  bytes_in_use -= static_cast<c10::Storage*>(held)->nbytes();
  delete static_cast<c10::Storage*>(held);
}
void drop_cpu_label(void* held) { delete static_cast<c10::Storage*>(held); }

void take_memory(size_t bytes) {
  const size_t used = bytes_in_use, all = bytes_in_all;
  TORCH_CHECK_WITH(OutOfMemoryError, used + bytes <= all, "CUDA out of memory. Tried to allocate ", bytes,
                   " bytes. GPU 0 has a total capacity of ", all, " bytes of which ", all - std::min(used, all),
                   " bytes is free. This GPU is pretended.");
  bytes_in_use += bytes;
  most_bytes_in_use = std::max<size_t>(most_bytes_in_use, bytes_in_use);
}

c10::Storage labelled(const c10::Storage& storage, c10::DeviceType type) {
  if (storage.device_type() == type) return storage;
  const auto& pointer = storage.data_ptr();
  if (pointer.get_deleter() == &drop_cpu_label) return *static_cast<c10::Storage*>(pointer.get_context());
  const bool cuda = type == c10::kCUDA;
  if (cuda) take_memory(storage.nbytes());
  auto* held = new c10::Storage(storage);
  c10::DataPtr label(held->mutable_data(), held, cuda ? &drop_cuda_label : &drop_cpu_label,
                     cuda ? c10::Device(type, 0) : c10::Device(type));
  return {c10::Storage::use_byte_size_t(), held->nbytes(), std::move(label), nullptr, false};
}

Tensor labelled(const Tensor& tensor, c10::DeviceType type) {
  if (!tensor.defined() || tensor.device().type() == type) return tensor;
  auto made = at::detail::make_tensor<c10::TensorImpl>(
      labelled(tensor.storage(), type),
      c10::DispatchKeySet(type == c10::kCUDA ? c10::DispatchKey::CUDA : c10::DispatchKey::CPU), tensor.dtype());
  auto* parts = made.unsafeGetTensorImpl();
  parts->set_sizes_and_strides(tensor.sizes(), tensor.strides(), tensor.storage_offset());
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) parts->set_wrapped_number(true);
  return made;
}

Tensor as_cuda(const Tensor& tensor) { return labelled(tensor, c10::kCUDA); }
Tensor as_cpu(const Tensor& tensor) { return labelled(tensor, c10::kCPU); }

void take_over(const Tensor& tensor, const Tensor& other) {     // become what the other is
  auto* parts = tensor.unsafeGetTensorImpl();
  parts->set_storage_keep_dtype(other.storage());
  parts->set_sizes_and_strides(other.sizes(), other.strides(), other.storage_offset());
}

// Random numbers: the device has a generator of its own, of which torch must not know that it is like the CPU's

struct DeviceGenerator final : at::CPUGeneratorImpl {
  using at::CPUGeneratorImpl::CPUGeneratorImpl;
};

const at::Generator& device_generator() {
  static auto& generator = *new at::Generator(at::make_generator<DeviceGenerator>(c10::default_rng_seed_val));
  return generator;
}

void exchange(at::CPUGeneratorImpl& left, at::CPUGeneratorImpl& right) {
  const auto engine = left.engine();
  const auto next_float = left.next_float_normal_sample();
  const auto next_double = left.next_double_normal_sample();
  left.set_engine(right.engine());
  left.set_next_float_normal_sample(right.next_float_normal_sample());
  left.set_next_double_normal_sample(right.next_double_normal_sample());
  right.set_engine(engine);
  right.set_next_float_normal_sample(next_float);
  right.set_next_double_normal_sample(next_double);
}

// While this lives, a kernel that draws from the CPU's generator draws from the device's: not all can be given one.
struct DrawFromDevice {
  DrawFromDevice() { swap(); }
  ~DrawFromDevice() { swap(); }
  static void swap() {
    exchange(*at::detail::getDefaultCPUGenerator().get<at::CPUGeneratorImpl>(),
             *device_generator().get<at::CPUGeneratorImpl>());
  }
};

// Every operation that has no kernel of its own below

bool in_forked_child = false;

void require_no_fork() {
  TORCH_CHECK(!in_forked_child, "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you "
                                "must use the 'spawn' start method");
}

// The size of what these return depends on numbers that the device has, or they return such a number.
const auto& RETURNS_WHAT_THE_DEVICE_KNOWS = *new std::set<std::string>{
    "aten::_local_scalar_dense", "aten::equal", "aten::nonzero", "aten::masked_select", "aten::bincount",
    "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive"};
// These take a list of indices as their second argument, which may lie on the CPU.
const auto& TAKES_INDICES = *new std::set<std::string>{
    "aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"};

struct Arguments {
  bool cuda = false, cpu = false, generator = false;
  std::string wait;                                   // why the host has to wait; empty: it need not
  std::vector<std::pair<Tensor, Tensor>> outputs;     // empty ones, which a kernel may resize: CUDA's, its stand-in
};

Tensor argument(const Tensor& tensor, bool index, bool written, Arguments& seen) {
  if (!tensor.defined()) return tensor;
  if (tensor.is_cuda()) seen.cuda = true;
  else if (index) seen.wait = "index on the CPU";
  else if (tensor.dim() > 0) seen.cpu = true;         // a single number goes along with the call
  if (index && (tensor.scalar_type() == at::kBool || tensor.scalar_type() == at::kByte)) seen.wait = "index by a mask";
  if (!tensor.is_cuda() || !written || tensor.numel() > 0) return as_cpu(tensor);
  seen.outputs.emplace_back(tensor, at::empty(tensor.sizes(), tensor.options().device(at::kCPU)));
  return seen.outputs.back().second;
}

IValue argument(const IValue& value, bool index, bool written, Arguments& seen) {
  if (value.isTensor()) return argument(value.toTensor(), index, written, seen);
  if (value.isTensorList()) {
    auto tensors = value.toTensorVector();
    for (auto& tensor : tensors) tensor = argument(tensor, index, written, seen);
    return c10::List<Tensor>(tensors);
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<Tensor>> tensors;
    for (const std::optional<Tensor>& tensor : value.toOptionalTensorVector())
      tensors.push_back(tensor ? std::optional<Tensor>(argument(*tensor, index, written, seen)) : std::nullopt);
    return tensors;
  }
  if (value.isDevice() && value.toDevice().is_cuda()) {
    seen.cuda = true;
    return c10::Device(c10::kCPU);
  }
  if (value.isGenerator() && value.toGenerator().defined()) {
    seen.generator = true;
    TORCH_CHECK(dynamic_cast<DeviceGenerator*>(value.toGenerator().unsafeGetGeneratorImpl()),
                "Expected a 'cuda' device type for generator but found 'cpu'");
  }
  return value;
}

IValue result(const IValue& value) {
  if (value.isTensor()) return as_cuda(value.toTensor());
  if (!value.isTensorList()) return value;
  auto tensors = value.toTensorVector();
  for (auto& tensor : tensors) tensor = as_cuda(tensor);
  return c10::List<Tensor>(tensors);
}

void compute(const c10::OperatorHandle& operation, torch::jit::Stack* stack) {
  require_no_fork();
  const auto& schema = operation.schema();
  const auto& parameters = schema.arguments();
  const auto first = stack->size() - parameters.size();
  const std::vector<IValue> given(stack->begin() + first, stack->end());
  Arguments seen;
  for (size_t place = 0; place < parameters.size(); ++place) {
    const auto* alias = parameters[place].alias_info();
    const bool index = place == 1 && TAKES_INDICES.count(schema.name());
    (*stack)[first + place] = argument(given[place], index, alias && alias->isWrite(), seen);
  }
  TORCH_CHECK(!(seen.cuda && seen.cpu), "Expected all tensors to be on the same device, but found at least two "
              "devices, cuda:0 and cpu! (in ", schema.name(), ")");
  const bool not_told_how_many = schema.name() == "aten::repeat_interleave" && given.back().isNone();
  if (not_told_how_many || RETURNS_WHAT_THE_DEVICE_KNOWS.count(schema.name())) seen.wait = schema.name();
  if (!seen.wait.empty()) wait_for_device(seen.wait);
  {
    std::optional<DrawFromDevice> drawing;
    if (!seen.generator && operation.hasTag(at::Tag::nondeterministic_seeded)) drawing.emplace();
    operation.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  }
  for (const auto& [cuda, cpu] : seen.outputs) take_over(cuda, as_cuda(cpu));
  const auto returned = stack->size() - schema.returns().size();
  for (size_t place = 0; place < schema.returns().size(); ++place) {
    auto& value = (*stack)[returned + place];
    const auto* alias = schema.returns()[place].alias_info();
    if (!alias || !alias->isWrite()) { value = result(value); continue; }
    for (size_t from = 0; from < parameters.size(); ++from) {       // changed in place: give the caller's own back
      const auto* other = parameters[from].alias_info();
      if (other && other->isWrite() && other->beforeSets() == alias->beforeSets()) value = given[from];
    }
  }
}

// Operations that CUDA computes from float16 to float32 at once, which autocast makes use of and the CPU does not offer

Tensor softmax(const Tensor& self, int64_t dim, bool to_float) {
  return as_cuda(at::_softmax(to_float ? as_cpu(self).to(at::kFloat) : as_cpu(self), dim, false));
}
Tensor log_softmax(const Tensor& self, int64_t dim, bool to_float) {
  return as_cuda(at::_log_softmax(to_float ? as_cpu(self).to(at::kFloat) : as_cpu(self), dim, false));
}
Tensor softmax_backward(const Tensor& gradient, const Tensor& output, int64_t dim, at::ScalarType input_dtype) {
  return as_cuda(
      at::_softmax_backward_data(as_cpu(gradient), as_cpu(output), dim, output.scalar_type()).to(input_dtype));
}
Tensor log_softmax_backward(const Tensor& gradient, const Tensor& output, int64_t dim, at::ScalarType input_dtype) {
  return as_cuda(
      at::_log_softmax_backward_data(as_cpu(gradient), as_cpu(output), dim, output.scalar_type()).to(input_dtype));
}

// Operations that make, resize or fill memory

Tensor empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
             std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  require_no_fork();
  return as_cuda(at::empty(C10_AS_INTARRAYREF_SLOW(size), at::TensorOptions().dtype(dtype).device(at::kCPU), format));
}

Tensor empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<at::ScalarType> dtype,
                     std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  require_no_fork();
  return as_cuda(at::empty_strided(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride),
                                   at::TensorOptions().dtype(dtype).device(at::kCPU)));
}

const Tensor& resize_(const Tensor& self, c10::SymIntArrayRef size, std::optional<at::MemoryFormat> format) {
  const auto wanted = C10_AS_INTARRAYREF_SLOW(size);
  if (self.sizes() == wanted) return self;
  const auto fresh = at::empty(wanted, self.options().device(at::kCPU), format);
  std::memcpy(fresh.mutable_data_ptr(), self.const_data_ptr(), std::min(fresh.nbytes(), self.nbytes()));
  take_over(self, as_cuda(fresh));
  return self;
}

Tensor& set_to_part_of_storage(Tensor& self, at::Storage source, c10::SymInt offset, c10::SymIntArrayRef size,
                               c10::SymIntArrayRef stride) {
  auto* parts = self.unsafeGetTensorImpl();
  parts->set_storage_keep_dtype(std::move(source));
  parts->set_sizes_and_strides(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), offset.expect_int());
  return self;
}

Tensor& set_to_storage(Tensor& self, at::Storage source) {
  const int64_t count = source.nbytes() / self.itemsize(), stride = 1;
  auto* parts = self.unsafeGetTensorImpl();
  parts->set_storage_keep_dtype(std::move(source));
  parts->set_sizes_and_strides(at::IntArrayRef(&count, 1), at::IntArrayRef(&stride, 1), 0);
  return self;
}

Tensor& set_to_tensor(Tensor& self, const Tensor& source) {
  take_over(self, source);
  return self;
}

constexpr size_t STAGED = 64 << 10;     // bytes that CUDA copies aside at once; of more the host waits for the device

Tensor& copy_(Tensor& self, const Tensor& source, bool non_blocking) {
  require_no_fork();
  const auto to = as_cpu(self), from = as_cpu(source);
  if (self.device() == source.device() || !self.numel()) {
    to.copy_(from);
    return self;
  }
  const bool to_host = source.is_cuda();
  const Tensor& host = to_host ? to : from;
  // Another dtype is no hindrance: it is converted on the device.
  const bool pinned = is_pinned(host.const_data_ptr()) && host.is_contiguous();
  if (non_blocking && pinned) {
    if (to_host) {
      begin_transfer(host, from.to(to.scalar_type()).expand_as(to).clone(at::MemoryFormat::Contiguous), true);
      return self;
    }
    begin_transfer(host, host.clone(), false);
  } else if (to_host) {
    wait_for_device("copy to the host");
  } else if (!non_blocking) {
    wait_for_device("copy to the device");
  } else if (source.nbytes() > STAGED) {
    wait_for_device("copy of more than 64 KB from memory that is not pinned");
  } else {
    std::lock_guard<std::mutex> held(transfer_lock);
    ++pageable_copies;
  }
  to.copy_(from);
  return self;
}

void record_stream(Tensor&, at::Stream) {}      // there is one stream

TORCH_LIBRARY_IMPL(_, CUDA, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&compute>());
}

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("_softmax", softmax);
  library.impl("_log_softmax", log_softmax);
  library.impl("_softmax_backward_data", softmax_backward);
  library.impl("_log_softmax_backward_data", log_softmax_backward);
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("resize_", resize_);
  library.impl("set_.source_Storage_storage_offset", set_to_part_of_storage);
  library.impl("set_.source_Storage", set_to_storage);
  library.impl("set_.source_Tensor", set_to_tensor);
  library.impl("copy_", copy_);
  library.impl("record_stream", record_stream);
}

// What torch asks of its CUDA part, which a CPU build lacks

struct Hooks final : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasPrimaryContext(at::DeviceIndex) const override { return true; }
  at::DeviceIndex deviceCount() const override { return 1; }
  at::DeviceIndex current_device() const override { return 0; }
  at::DeviceIndex getCurrentDevice() const override { return 0; }
  void setCurrentDevice(at::DeviceIndex) const override {}
  at::DeviceIndex exchangeDevice(at::DeviceIndex) const override { return 0; }
  at::DeviceIndex maybeExchangeDevice(at::DeviceIndex) const override { return 0; }
  int getNumGPUs() const override { return 1; }
  void deviceSynchronize(at::DeviceIndex) const override { arrive(transfers_begun); }
  const at::Generator& getDefaultGenerator(at::DeviceIndex) const override { return device_generator(); }
  at::Generator getNewGenerator(at::DeviceIndex) const override {
    static bool asked = false;      // pretended.py asks first, for the device's own; others are new
    if (asked) return at::make_generator<DeviceGenerator>(c10::default_rng_seed_val);
    asked = true;
    return device_generator();
  }
  bool isPinnedPtr(const void* memory) const override { return is_pinned(memory); }
  at::Allocator* getPinnedMemoryAllocator() const override { return &pinned_allocator; }
};

c10::Registerer<std::string, std::unique_ptr<at::CUDAHooksInterface>, at::CUDAHooksArgs> hooks(
    "CUDAHooks", at::CUDAHooksRegistry(),
    c10::Registerer<std::string, std::unique_ptr<at::CUDAHooksInterface>, at::CUDAHooksArgs>::DefaultCreator<Hooks>);

const int watching_forks = pthread_atfork(nullptr, nullptr, [] { in_forked_child = true; });

}  // namespace

namespace c10::impl {

struct PretendedGuard final : NoOpDeviceGuardImpl<DeviceType::CUDA> {
  static Stream stream() { return Stream(Stream::DEFAULT, Device(DeviceType::CUDA, 0)); }
  Device exchangeDevice(Device) const override { return Device(DeviceType::CUDA, 0); }
  Device getDevice() const override { return Device(DeviceType::CUDA, 0); }
  Stream getStream(Device) const noexcept override { return stream(); }
  Stream getDefaultStream(Device) const override { return stream(); }
  Stream exchangeStream(Stream) const noexcept override { return stream(); }
  void record(void**, const Stream&, const DeviceIndex, const EventFlag) const override {}
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void synchronizeDevice(const DeviceIndex) const override {}
};

C10_REGISTER_GUARD_IMPL(CUDA, PretendedGuard)

}  // namespace c10::impl

// What pretended.py calls

extern "C" {

long pretended_transfers_begun() { return transfers_begun; }

int pretended_arrive(long up_to) {      // whether all of them arrived as they were sent
  try {
    arrive(up_to);
    return 1;
  } catch (const std::exception&) {
    return 0;
  }
}

const char* pretended_waits() {         // lines of a reason, a tab and how often
  static std::string lines;
  std::lock_guard<std::mutex> held(transfer_lock);
  lines.clear();
  for (const auto& [why, count] : waits) lines += why + "\t" + std::to_string(count) + "\n";
  return lines.c_str();
}

long pretended_pageable_copies() { return pageable_copies; }
void pretended_set_on_wait(int mode) { on_wait = static_cast<OnWait>(mode); }
int pretended_on_wait() { return static_cast<int>(on_wait.load()); }
int pretended_forked() { return in_forked_child; }
size_t pretended_bytes_in_use() { return bytes_in_use; }
size_t pretended_most_bytes_in_use() { return most_bytes_in_use; }
void pretended_forget_most_bytes() { most_bytes_in_use = bytes_in_use.load(); }
size_t pretended_bytes_in_all() { return bytes_in_all; }
void pretended_set_bytes_in_all(size_t bytes) { bytes_in_all = bytes; }

}
