# -*- coding: utf-8 -*-
# 自然语言处理课程 作业三：基于BERT的短文本分类
# 学号：2021xxxxxx   姓名：王某某
import sys
sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.data import Dataset, DataLoader
from transformers import BertTokenizer, BertModel
from posts import posts, split, encoder_folder

# ---------- 超参数 ----------
batch_size = 16
epoch_num = 4
learning_rate = 1e-4
pad_size = 40          # 每句话处理成的长度
num_classes = 4
bert_path = encoder_folder()

tokenizer = BertTokenizer.from_pretrained(bert_path)


# ---------- 数据集 ----------
class PostDataset(Dataset):
    def __init__(self, data):
        self.contents = []
        for text, label in data:
            token_ids = tokenizer.encode(text, truncation=True, max_length=pad_size)
            seq_len = len(token_ids)
            # 补齐到pad_size（参考：左侧补0，方便后面接RNN取最后时刻）
            mask = [1] * seq_len + [0] * (pad_size - seq_len)
            token_ids = [0] * (pad_size - seq_len) + token_ids
            self.contents.append((token_ids, mask, label))

    def __len__(self):
        return len(self.contents)

    def __getitem__(self, idx):
        ids, mask, label = self.contents[idx]
        return torch.LongTensor(ids), torch.LongTensor(mask), label


# ---------- 模型 ----------
class BertClassifier(nn.Module):
    def __init__(self):
        super(BertClassifier, self).__init__()
        self.bert = BertModel.from_pretrained(bert_path)
        self.dropout = nn.Dropout(0.1)
        self.fc = nn.Linear(384, num_classes)

    def forward(self, x, mask):
        out = self.bert(x, attention_mask=mask)[0]
        out = out.max(dim=1)[0]        # 最大池化
        return self.fc(self.dropout(out))


texts, labels = posts(900, classes=num_classes, seed=2021)
train_data, test_data = split(texts, labels)
train_loader = DataLoader(PostDataset(train_data), batch_size=batch_size, shuffle=True)
test_loader = DataLoader(PostDataset(test_data), batch_size=batch_size)

model = BertClassifier()
criterion = nn.CrossEntropyLoss()
optimizer = optim.AdamW(model.parameters(), lr=learning_rate)

# ---------- 训练 ----------
for epoch in range(epoch_num):
    model.train()
    for i, (ids, mask, label) in enumerate(train_loader):
        output = model(ids, mask)
        loss = criterion(output, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % 10 == 0:
            print("第%d轮 第%d步 损失: %.4f" % (epoch + 1, i, loss.item()))
    # ---------- 测试 ----------
    model.eval()
    correct = 0
    with torch.no_grad():
        for ids, mask, label in test_loader:
            correct += (model(ids, mask).argmax(1) == label).sum().item()
    print("第%d轮 测试集准确率: %.2f%%" % (epoch + 1, 100.0 * correct / len(test_data)))
